//! On which server a user without a home gets one: the same for every frontend that sees the same servers.

use aws_lc_rs::digest;

/// Servers in the order in which one user's home is tried on them (rendezvous hashing, Thaler and Ravishankar
/// 1998): a server that comes or goes moves the first choice of no user of the others.
pub fn servers_for<'a>(servers: impl Iterator<Item = &'a [u8]>, user: &[u8]) -> Vec<&'a [u8]> {
    let weight = |server: &[u8]| {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(server);
        context.update(b"\0");
        context.update(user);
        let hash = context.finish();
        hash.as_ref().iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let mut weighed: Vec<(u64, &[u8])> = servers.map(|server| (weight(server), server)).collect();
    weighed.sort_unstable_by(|a, b| b.cmp(a));
    weighed.dedup();
    weighed.into_iter().map(|(_, server)| server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(servers: &[&str], user: usize) -> String {
        let servers = servers.iter().map(|server| server.as_bytes());
        String::from_utf8(servers_for(servers, format!("user{user}").as_bytes())[0].to_vec()).unwrap()
    }

    #[test]
    fn order_does_not_depend_on_the_order_of_the_list() {
        for user in 0..100 {
            assert_eq!(first(&["be1", "be2", "be3"], user), first(&["be3", "be1", "be2", "be1"], user));
        }
    }

    #[test]
    fn dead_server_moves_its_own_users_alone_and_shares_are_alike() {
        let count =
            |server: &str| (0..3000).filter(|user| first(&["be1", "be2", "be3"], *user) == server).count();
        for server in ["be1", "be2", "be3"] {
            assert!((850..1150).contains(&count(server)), "{server}: {}", count(server));
        }
        for user in 0..300 {
            let all = first(&["be1", "be2", "be3"], user);
            assert!(all == "be3" || first(&["be1", "be2"], user) == all);
        }
    }
}

//! CREATE, DELETE and RENAME; the master is told before the client.

use super::super::acl::Acl;
use super::super::command::Value;
use super::super::mailbox::owner;
use super::super::registry::Tell;
use super::super::store::{Registration, Undo};
use super::{Answer, Reply, Scene};

/// A name that cannot be told to the master as it would be cut there.
const NAME_BYTES_MAX: usize = 490;

/// The nearest mailbox above a name.
fn parent(scene: &Scene<'_>, name: &str) -> Option<String> {
    let mut rest = name;
    while let Some((above, _)) = rest.rsplit_once('.') {
        if scene.hall.store.mailboxes.contains_key(above) {
            return Some(above.to_owned());
        }
        rest = above;
    }
    None
}

fn may_create(scene: &Scene<'_>, name: &str) -> bool {
    let parent = parent(scene, name);
    scene.user.admin || parent.is_some_and(|parent| scene.rights(&parent).contains('k'))
}

fn is_valid(name: &str) -> bool {
    let levels_are_named = name.split('.').all(|level| !level.is_empty());
    levels_are_named
        && name.len() <= NAME_BYTES_MAX
        && !name.chars().any(|c| c.is_control() || "%*".contains(c))
}

fn reachable(scene: &Scene<'_>) -> Result<(), Reply> {
    if scene.hall.master_is_reachable { Ok(()) } else { Err(Reply::no("no connection to server")) }
}

pub(super) fn create(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let name = scene.name(arguments.first()).ok_or_else(|| Reply::bad("CREATE wants a mailbox"))?;
    if !is_valid(&name) {
        return Err(Reply::no("Invalid mailbox name"));
    }
    if scene.hall.store.mailboxes.contains_key(&name) {
        return Err(Reply::no("Mailbox already exists"));
    }
    if !may_create(scene, &name) {
        return Err(Reply::no("Permission denied"));
    }
    reachable(scene)?;
    let inherited = parent(scene, &name).and_then(|p| Some(scene.hall.store.mailboxes.get(&p)?.acl.clone()));
    let acl = match (inherited, owner(&name)) {
        (Some(acl), _) => acl,
        (None, Some(user)) => Acl::of_owner(user),
        (None, None) => Acl::new(&[("anyone".to_owned(), "lrs".to_owned())]),
    };
    let tells =
        vec![Tell::Reserve { name: name.clone() }, Tell::Activate { name: name.clone(), acl: acl.wire() }];
    scene.store().create(&name, acl);
    let refused = "unable to reserve mailbox on mupdate server";
    Ok(Reply::Register(Registration { tells, undo: Undo::Remove(name), refused }))
}

pub(super) fn delete(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let name = scene.name(arguments.first()).ok_or_else(|| Reply::bad("DELETE wants a mailbox"))?;
    scene.allowed(&name, 'x')?;
    let inside = format!("{name}.");
    if owner(&name) == Some(&scene.user.name) && !name["user.".len()..].contains('.') {
        return Err(Reply::no("Operation is not supported on mailbox"));
    }
    let children = scene.store().mailboxes.keys().any(|other| other.starts_with(&inside));
    if children && owner(&name).is_none() {
        return Err(Reply::no("[HASCHILDREN] Mailbox has inferior hierarchical names"));
    }
    reachable(scene)?;
    scene.store().mailboxes.remove(&name);
    let tells = vec![Tell::Delete { name }];
    let refused = "unable to delete mailbox on mupdate server";
    Ok(Reply::Register(Registration { tells, undo: Undo::Nothing, refused }))
}

pub(super) fn rename(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let (Some(old), Some(new)) = (scene.name(arguments.first()), scene.name(arguments.get(1))) else {
        return Err(Reply::bad("RENAME wants two mailboxes"));
    };
    scene.allowed(&old, 'x')?;
    if !is_valid(&new) {
        return Err(Reply::no("Invalid mailbox name"));
    }
    if scene.hall.store.mailboxes.contains_key(&new) {
        return Err(Reply::no("Mailbox already exists"));
    }
    if !may_create(scene, &new) {
        return Err(Reply::no("Permission denied"));
    }
    reachable(scene)?;
    let inside = format!("{old}.");
    let moved = scene.store().mailboxes.keys().filter(|n| **n == old || n.starts_with(&inside));
    let pairs: Vec<_> = moved.map(|n| (n.clone(), format!("{new}{}", &n[old.len()..]))).collect();
    let mut tells = Vec::new();
    for (from, to) in &pairs {
        if let Some(mailbox) = scene.store().mailboxes.remove(from) {
            tells.push(Tell::Reserve { name: to.clone() });
            tells.push(Tell::Activate { name: to.clone(), acl: mailbox.acl.wire() });
            tells.push(Tell::Delete { name: from.clone() });
            scene.store().mailboxes.insert(to.clone(), mailbox);
        }
    }
    let refused = "unable to reserve mailbox on mupdate server";
    Ok(Reply::Register(Registration { tells, undo: Undo::Rename(pairs), refused }))
}

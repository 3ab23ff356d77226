//! The transcripts of IMAP, POP3 and ManageSieve.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use protocols::bulletin::Bulletin;
use protocols::imap::Session;
use protocols::proxy::{self, Origin};
use protocols::{pop3, sieve};

use super::options::{common, config, configure, configure_common};
use super::script::{Cut, expand};
use super::world::World;

/// A protocol with a folder of transcripts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Protocol {
    Imap,
    Pop3,
    Sieve,
}

impl Protocol {
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Protocol::Imap => "",
            Protocol::Pop3 => "pop3",
            Protocol::Sieve => "sieve",
        }
    }

    /// A session, configured by the options of a scene.
    pub(crate) fn session(self, options: &[&str], bulletin: &Bulletin) -> Box<dyn proxy::Session> {
        let origin =
            Origin { random: [7; 32], started_unix: 1, client_address: "192.0.2.1:4711".into(), tls: false };
        match self {
            Protocol::Imap => {
                let mut config = config();
                config.bulletin = bulletin.clone();
                options.iter().for_each(|option| configure(&mut config, option));
                let mut session = Session::new(Arc::new(config), origin);
                session.came_to("192.0.2.9:143");
                Box::new(session)
            }
            Protocol::Pop3 => {
                let mut config = pop3::Config { common: common(bulletin), ..pop3::Config::default() };
                options.iter().for_each(|option| match *option {
                    "popsubfolders" => config.subfolders = true,
                    "popuseacl" => config.use_acl = true,
                    option => configure_common(&mut config.common, option),
                });
                let mut session = pop3::Session::new(Arc::new(config), origin);
                session.came_to("192.0.2.9:110");
                Box::new(session)
            }
            Protocol::Sieve => {
                let mut config = sieve::Config { common: common(bulletin), ..sieve::Config::default() };
                options.iter().for_each(|option| match *option {
                    "referrals" => config.referrals = true,
                    option => configure_common(&mut config.common, option),
                });
                let mut session = sieve::Session::new(Arc::new(config), origin);
                session.came_to("192.0.2.9:4190");
                Box::new(session)
            }
        }
    }
}

#[test]
fn transcripts_play_however_the_input_is_cut() {
    let failures: String =
        [Protocol::Imap, Protocol::Pop3, Protocol::Sieve].into_iter().map(play_all).collect();
    assert!(failures.is_empty(), "\n{failures}");
}

fn play_all(protocol: Protocol) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(protocol.folder());
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() > if protocol == Protocol::Imap { 8 } else { 1 }, "transcripts are missing");
    let mut failures = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, scene) in text.split("\n====").enumerate() {
            let name = file.file_name().unwrap().to_string_lossy();
            let title = format!("{protocol:?} {name} scene {}", number + 1);
            let mut cuts = vec![Cut::Joined, Cut::Lines, Cut::Bytes];
            cuts.extend((1..=8).map(Cut::Random));
            for cut in cuts {
                if let Err(why) = play(protocol, &folder, scene, cut) {
                    writeln!(failures, "{title}, {cut:?}: {why}").unwrap();
                    break;
                }
            }
        }
    }
    failures
}

fn play(protocol: Protocol, folder: &Path, scene: &str, cut: Cut) -> Result<(), String> {
    let mut lines = Vec::new();
    expand(folder, scene, &mut lines);
    let options: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("% ")).collect();
    let bulletin = Bulletin::default();
    let mut world = World::new(protocol.session(&options, &bulletin), bulletin, cut);
    world.follow(&lines)?;
    world.check("--")
}

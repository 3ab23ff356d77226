//! A relay of lines over the shard: what the data path itself costs, without a protocol.
//!
//! `relay LISTEN BACKEND [CPU] [--no-pipes]`: each client gets a connection to the backend, and lines
//! with their literals (`{n}` at the end of a line) are forwarded both ways by the machine contract,
//! not by a pipe. Ends when its standard input does.

#[path = "../tests/relay/mod.rs"]
mod relay;

use std::error::Error;
use std::io::Read;
use std::time::Duration;

use engine::shard::{Inbox, Listener, ListenerId, ShardConfig, ToShard, listen_tcp, pipes, preflight, run};
use relay::OneBackend;

fn main() -> Result<(), Box<dyn Error>> {
    preflight(1)?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(listen), Some(backend)) = (args.first(), args.get(1)) else {
        return Err("usage: relay LISTEN BACKEND [CPU] [--no-pipes]".into());
    };
    let (inbox, reader) = Inbox::new()?;
    let mut config = ShardConfig::new(0);
    config.cpu = args.get(2).and_then(|cpu| cpu.parse().ok());
    let socket = listen_tcp(listen.parse()?)?;
    config.listeners.push(Listener { id: ListenerId(0), socket, deal: Vec::new() });
    if !args.iter().any(|arg| arg == "--no-pipes") {
        config.pipes = pipes(32)?;
    }
    std::thread::spawn(move || {
        // Whatever ends the input ends the relay.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        inbox.send(ToShard::Drain { within: Duration::from_secs(1) });
    });
    run(config, OneBackend { backend: backend.parse()?, outcomes: None }, reader)?;
    Ok(())
}

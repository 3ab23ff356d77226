//! The ring of a shard: what is asked of the kernel, and its completions.
//!
//! Operations without memory are safe to push. Those with memory say until when it must stand.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use io_uring::squeue::{self, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};

/// How much a ring holds; its memory counts as locked from Linux 6.14 on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingSize {
    /// Submission entries; a turn that has more enters the kernel in between.
    pub(super) submissions: u32,
    /// Completion entries; a burst past it overflows into kernel memory and is fetched by the next enter.
    pub(super) completions: u32,
}

impl RingSize {
    /// 200 KiB.
    pub const LARGE: RingSize = RingSize { submissions: 1024, completions: 8192 };

    /// 68 KiB, where many shards share little locked memory.
    pub const SMALL: RingSize = RingSize { submissions: 512, completions: 2048 };
}

/// Bytes that a ring locks: the submissions, and on other pages the completions with the indices of the
/// submissions (man io_uring_setup(2)).
pub(super) fn locked_bytes(size: RingSize) -> u64 {
    let (submissions, completions) = (u64::from(size.submissions), u64::from(size.completions));
    let pages = |bytes: u64| bytes.next_multiple_of(PAGE_BYTES);
    pages(submissions * 64) + pages(HEADER_BYTES + completions * 16 + submissions * 4)
}

/// Heads, tails and masks (struct io_rings), generously.
const HEADER_BYTES: u64 = 512;

/// A page; a kernel with larger ones has larger limits.
pub(super) const PAGE_BYTES: u64 = 4096;

/// How often a ring is tried that finds the user's locked memory used up.
const MEMORY_TRIES: u32 = 100;

/// Between two tries.
const MEMORY_PAUSE: Duration = Duration::from_millis(100);

/// Tries again while the locked memory of the user is used up: the kernel takes that of a process
/// back only some time after its end, and a restart would find nothing left.
pub(super) fn patiently<T, E>(make: impl Fn() -> Result<T, E>, is_out: impl Fn(&E) -> bool) -> Result<T, E> {
    for _ in 0..MEMORY_TRIES {
        match make() {
            Err(why) if is_out(&why) => std::thread::sleep(MEMORY_PAUSE),
            made => return made,
        }
    }
    make()
}

/// The group of the provided buffers.
pub(super) const BUFFER_GROUP: u16 = 0;

/// A completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) token: Token,
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    /// Whether more completions of the operation follow.
    pub(super) fn goes_on(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that it filled.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

/// What an operation is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// A completion that nobody looks at.
    Ignored,
    Accept,
    Receive,
    TurnSend,
    SpillSend,
    Connect,
    /// The source of a splice can be read.
    SpliceIn,
    /// The destination of a splice can be written.
    SpliceOut,
    Inbox,
    Exchange,
}

/// The user data of an operation: kind, slot and generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Token {
    pub(super) const IGNORED: Token = Token { kind: Kind::Ignored, slot: 0, generation: 0 };

    pub(super) fn of(kind: Kind, slot: u32) -> Token {
        Token { kind, slot, generation: 0 }
    }

    /// Slots stay below 2^24: there are not that many descriptors.
    fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot & 0xff_ffff) << 8 | self.kind as u64
    }

    fn unpack(data: u64) -> Token {
        const KINDS: [Kind; 10] = [
            Kind::Ignored,
            Kind::Accept,
            Kind::Receive,
            Kind::TurnSend,
            Kind::SpillSend,
            Kind::Connect,
            Kind::SpliceIn,
            Kind::SpliceOut,
            Kind::Inbox,
            Kind::Exchange,
        ];
        let kind = KINDS.get((data & 0xff) as usize).copied().unwrap_or(Kind::Ignored);
        Token { kind, slot: (data >> 8) as u32 & 0xff_ffff, generation: (data >> 32) as u32 }
    }
}

/// What [`Ring::ask`] points to: memory with its length.
pub(super) struct Chain {
    pub(super) fd: RawFd,
    pub(super) address: (*const libc::sockaddr, u32),
    pub(super) question: (*const u8, usize),
    pub(super) answer: (*mut u8, usize),
    /// For connecting, and for the answer.
    pub(super) within: *const Timespec,
}

/// The ring of one shard, used on the thread that made it.
pub(super) struct Ring {
    ring: IoUring,
}

impl Ring {
    /// Makes a ring.
    pub(super) fn new(size: RingSize) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(size.completions)
            .setup_clamp()
            .build(size.submissions)?;
        Ok(Ring { ring })
    }

    pub(super) fn inner(&self) -> &IoUring {
        &self.ring
    }

    /// Whether something is asked that was not handed over.
    pub(super) fn has_submissions(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Submits everything and waits for one completion, at most `wait`.
    pub(super) fn enter(&mut self, wait: Duration) -> io::Result<()> {
        let wait = if self.ring.completion().is_empty() { wait } else { Duration::ZERO };
        let timespec = Timespec::from(wait);
        let args = SubmitArgs::new().timespec(&timespec);
        loop {
            match self.ring.submitter().submit_with_args(1, &args) {
                Ok(_) => {}
                Err(why) => match why.raw_os_error() {
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
                    _ => return Err(why),
                },
            }
            if !self.has_submissions() {
                return Ok(());
            }
        }
    }

    /// Moves the completions that stand to `into`.
    pub(super) fn harvest(&mut self, into: &mut Vec<Completion>) {
        into.extend(self.ring.completion().map(|entry| Completion {
            token: Token::unpack(entry.user_data()),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        let entry = entry.user_data(token.pack());
        loop {
            #[allow(unsafe_code, reason = "the submission queue cannot know what an entry points to")]
            // SAFETY: entries without memory have nothing to outlive; for the others the callers of
            // the unsafe functions below answer.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            if pushed.is_ok() {
                return;
            }
            // The queue is full: hand it over. A kernel that takes nothing is retried as in `enter`.
            let _ = self.ring.submit();
        }
    }

    pub(super) fn receive(&mut self, fd: RawFd, token: Token) {
        self.push(opcode::RecvMulti::new(Fd(fd), BUFFER_GROUP).build(), token);
    }

    /// Fills one buffer.
    pub(super) fn receive_one(&mut self, fd: RawFd, token: Token) {
        let len = driver::limits::BUFFER_BYTES as u32;
        let entry = opcode::Recv::new(Fd(fd), std::ptr::null_mut(), len).buf_group(BUFFER_GROUP).build();
        self.push(entry.flags(Flags::BUFFER_SELECT), token);
    }

    pub(super) fn accept(&mut self, fd: RawFd, token: Token) {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        self.push(opcode::AcceptMulti::new(Fd(fd)).flags(flags).build(), token);
    }

    /// One event of a descriptor.
    pub(super) fn poll(&mut self, fd: RawFd, events: i16, token: Token) {
        self.push(opcode::PollAdd::new(Fd(fd), events as u32).build(), token);
    }

    /// Ends the operation with this token; that one still completes.
    pub(super) fn cancel(&mut self, token: Token) {
        let entry = opcode::AsyncCancel::new(token.pack()).build().flags(Flags::SKIP_SUCCESS);
        self.push(entry, Token::IGNORED);
    }

    pub(super) fn close(&mut self, fd: OwnedFd) {
        use std::os::fd::IntoRawFd;
        let entry = opcode::Close::new(Fd(fd.into_raw_fd())).build().flags(Flags::SKIP_SUCCESS);
        self.push(entry, Token::IGNORED);
    }

    /// Sends what can be sent at once. Completes only if that was not all: with the bytes that went
    /// out, or with an error.
    #[allow(unsafe_code, reason = "an operation points to memory")]
    ///
    /// # Safety
    /// The bytes stand until the next [`Ring::enter`] is over.
    pub(super) unsafe fn send_now(&mut self, fd: RawFd, bytes: *const u8, len: usize, token: Token) {
        let entry = opcode::Send::new(Fd(fd), bytes, len as u32).flags(SEND_NOW).build();
        self.push(entry.flags(Flags::SKIP_SUCCESS), token);
    }

    /// [`Ring::send_now`] of several stretches.
    #[allow(unsafe_code, reason = "an operation points to memory")]
    ///
    /// # Safety
    /// The message and all it points to stand until the next [`Ring::enter`] is over.
    pub(super) unsafe fn send_message_now(&mut self, fd: RawFd, message: *const libc::msghdr, token: Token) {
        let entry = opcode::SendMsg::new(Fd(fd), message).flags(SEND_NOW as u32).build();
        self.push(entry.flags(Flags::SKIP_SUCCESS), token);
    }

    /// Sends some of the bytes as soon as the socket takes any.
    #[allow(unsafe_code, reason = "an operation points to memory")]
    ///
    /// # Safety
    /// The bytes stand until the completion.
    pub(super) unsafe fn send(&mut self, fd: RawFd, bytes: *const u8, len: usize, token: Token) {
        self.push(opcode::Send::new(Fd(fd), bytes, len as u32).flags(libc::MSG_NOSIGNAL).build(), token);
    }

    /// Connects, within a time.
    #[allow(unsafe_code, reason = "an operation points to memory")]
    ///
    /// # Safety
    /// The address and the time stand until the completion.
    pub(super) unsafe fn connect(
        &mut self,
        fd: RawFd,
        address: *const libc::sockaddr,
        len: u32,
        within: *const Timespec,
        token: Token,
    ) {
        self.make_room(2);
        self.push(opcode::Connect::new(Fd(fd), address, len).build().flags(Flags::IO_LINK), token);
        self.push(opcode::LinkTimeout::new(within).build(), Token::IGNORED);
    }

    /// Operations that are linked go into one submission.
    fn make_room(&mut self, entries: usize) {
        let submissions = self.ring.submission();
        let room = submissions.capacity() - submissions.len();
        drop(submissions);
        if room < entries {
            let _ = self.ring.submit();
        }
    }

    /// Connects, sends all of a question and receives some of the answer. One completion comes: of the
    /// receive, or of what failed before it; `ECANCELED` is its time.
    #[allow(unsafe_code, reason = "operations point to memory")]
    ///
    /// # Safety
    /// What the chain points to stands until the completion.
    pub(super) unsafe fn ask(&mut self, chain: &Chain, token: Token) {
        self.make_room(5);
        let (fd, linked) = (Fd(chain.fd), Flags::IO_LINK | Flags::SKIP_SUCCESS);
        let within = || opcode::LinkTimeout::new(chain.within).build();
        let (address, len) = chain.address;
        self.push(opcode::Connect::new(fd, address, len).build().flags(linked), token);
        self.push(within().flags(Flags::IO_LINK), Token::IGNORED);
        let (question, len) = chain.question;
        let send = opcode::Send::new(fd, question, len as u32).flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL);
        self.push(send.build().flags(linked), token);
        let (answer, len) = chain.answer;
        self.push(opcode::Recv::new(fd, answer, len as u32).build().flags(Flags::IO_LINK), token);
        self.push(within(), Token::IGNORED);
    }

    /// Receives some bytes, within a time.
    #[allow(unsafe_code, reason = "operations point to memory")]
    ///
    /// # Safety
    /// The bytes and the time stand until the completion.
    pub(super) unsafe fn receive_within(
        &mut self,
        fd: RawFd,
        bytes: *mut u8,
        len: usize,
        within: *const Timespec,
        token: Token,
    ) {
        self.make_room(2);
        self.push(opcode::Recv::new(Fd(fd), bytes, len as u32).build().flags(Flags::IO_LINK), token);
        self.push(opcode::LinkTimeout::new(within).build(), Token::IGNORED);
    }
}

/// With WAITALL a short send counts as failed, and only then does it complete although successes
/// are skipped.
const SEND_NOW: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for kind in [Kind::Ignored, Kind::Receive, Kind::Exchange] {
            let token = Token { kind, slot: 0xab_cdef, generation: 0xfedc_ba98 };
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }

    #[test]
    #[allow(unsafe_code, reason = "the operation points to memory of the test")]
    fn a_short_send_completes_with_what_went_out_and_a_whole_one_is_silent() {
        let mut ring = Ring::new(RingSize::LARGE).expect("tests need io_uring");
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("descriptors");
        let bytes = vec![7u8; 8 << 20];
        let mut done = Vec::new();
        for len in [100, bytes.len(), 100] {
            // SAFETY: `bytes` outlives the enter.
            unsafe {
                ring.send_now(ours.as_raw_fd(), bytes.as_ptr(), len, Token::of(Kind::TurnSend, len as u32))
            };
            ring.enter(Duration::ZERO).expect("ring");
            ring.harvest(&mut done);
        }
        let results: Vec<i32> = done.iter().map(|completion| completion.result).collect();
        assert_eq!(results.len(), 2, "{results:?}");
        assert!(results[0] > 0 && (results[0] as usize) < bytes.len());
        assert_eq!(results[1], -libc::EAGAIN);
    }
}

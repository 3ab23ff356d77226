//! A bounded pool of threads for what blocks.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Work for a helper. It answers by itself, whatever happens.
pub type Job = Box<dyn FnOnce() + Send>;

/// The queue of a pool is full; the job was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many jobs wait for a helper thread")]
pub struct Full;

/// Threads that take jobs in order. Dropping the last handle lets them finish what is queued and
/// end.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    jobs_max: usize,
}

struct Queue {
    jobs: VecDeque<Job>,
    open: bool,
}

impl Pool {
    /// Starts `threads` threads, of whose names `name` is the beginning. Must be called before the
    /// calling thread is pinned, for they inherit its cores.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(name: &str, threads: usize, jobs_max: usize) -> io::Result<Pool> {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), open: true });
        let pool = Pool { shared: Arc::new(Shared { queue, filled: Condvar::new(), jobs_max }) };
        for n in 0..threads {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new().name(format!("{name}-{n}")).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// Queues a job.
    ///
    /// # Errors
    /// [`Full`]: the caller answers that the service is not available.
    pub fn submit(&self, job: Job) -> Result<(), Full> {
        let mut queue = self.shared.lock();
        if queue.jobs.len() >= self.shared.jobs_max {
            return Err(Full);
        }
        queue.jobs.push_back(job);
        self.shared.filled.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().open = false;
        self.shared.filled.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // A job that panics has not answered; its session runs into its deadline. The pool
            // lives on.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if !queue.open {
                return None;
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn full_queue_refuses_and_takes_again_when_drained() {
        let pool = Pool::start("test", 1, 1).unwrap();
        let (started, is_started) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let blocker = move || {
            started.send(()).unwrap();
            let _ = wait.recv();
        };
        pool.submit(Box::new(blocker)).unwrap();
        is_started.recv().unwrap();
        let (done, is_done) = mpsc::channel();
        let second = done.clone();
        pool.submit(Box::new(move || second.send(2).unwrap())).unwrap();
        assert_eq!(pool.submit(Box::new(|| ())), Err(Full));
        go.send(()).unwrap();
        assert_eq!(is_done.recv(), Ok(2));
        pool.submit(Box::new(move || done.send(3).unwrap())).unwrap();
        assert_eq!(is_done.recv(), Ok(3));
    }

    #[test]
    fn panicking_job_does_not_end_the_pool() {
        let pool = Pool::start("test", 1, 4).unwrap();
        pool.submit(Box::new(|| panic!("a job that panics"))).unwrap();
        let (done, is_done) = mpsc::channel();
        pool.submit(Box::new(move || done.send(()).unwrap())).unwrap();
        assert_eq!(is_done.recv(), Ok(()));
    }

    #[test]
    fn queued_jobs_are_done_when_the_pool_is_dropped() {
        let pool = Pool::start("test", 2, 100).unwrap();
        let (done, is_done) = mpsc::channel();
        for n in 0..50 {
            let done = done.clone();
            pool.submit(Box::new(move || done.send(n).unwrap())).unwrap();
        }
        drop((pool, done));
        assert_eq!(is_done.iter().count(), 50);
    }
}

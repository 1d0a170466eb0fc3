//! The one thread that calls the host's FTM: interactive signatures go before everything else.
//!
//! A module such as a TPM is one queue; two threads in it would only wait for each other, and some libraries break.
//! The thread is joined when the last handle goes, so that the module is left in order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use biotrust_driver_api::{Ftm, FtmError, KeyHandle};
use tokio::sync::oneshot;

/// Which queue a job waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody stands in front of a device.
    Interactive,
    /// Enrolment, rotation, checks.
    Background,
}

/// The FTM with the keys that are loaded.
struct Module {
    ftm: Box<dyn Ftm>,
    loaded: HashMap<String, Box<dyn KeyHandle>>,
}

type Job = Box<dyn FnOnce(&mut Module) + Send>;

#[derive(Default)]
struct Queues {
    interactive: VecDeque<Job>,
    background: VecDeque<Job>,
    closed: bool,
}

struct Shared {
    queues: Mutex<Queues>,
    wake: Condvar,
}

/// Handle on the FTM thread.
pub struct FtmThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// How many jobs may wait per queue; beyond that the module is not keeping up and new ones are refused.
const DEPTH: usize = 1024;

impl FtmThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(ftm: Box<dyn Ftm>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { queues: Mutex::default(), wake: Condvar::new() });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("ftm".into()).spawn(move || {
            let mut module = Module { ftm, loaded: HashMap::new() };
            while let Some(job) = worker.next() {
                // a fault in a module costs this job: whoever waits for it sees the answer dropped
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&mut module))).is_err() {
                    tracing::error!("a job of the FTM panicked; its keys are loaded again");
                    module.loaded.clear();
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Signs `message` (RS256) with the current key `name`, if that is still the key `public_key` (SPKI, DER) that the
    /// certificate beside the signature belongs to. The message comes back with its signature: it may be large.
    ///
    /// The answer is `NoKey` where the key has been rotated meanwhile.
    pub fn sign<M: AsRef<[u8]> + Send + 'static>(
        &self,
        urgency: Urgency,
        name: &str,
        public_key: &[u8],
        message: M,
    ) -> oneshot::Receiver<Result<(M, Vec<u8>), FtmError>> {
        let (name, public_key) = (name.to_owned(), public_key.to_vec());
        self.submit(urgency, move |module| {
            let key = module.key(&name)?;
            if key.public_key_der() != public_key {
                return Err(FtmError::NoKey(name));
            }
            let signature = key.sign_rs256(message.as_ref())?;
            Ok((message, signature))
        })
    }

    /// SubjectPublicKeyInfo (DER) of the current key, loading it.
    pub fn public_key(&self, name: &str) -> oneshot::Receiver<Result<Vec<u8>, FtmError>> {
        let name = name.to_owned();
        self.submit(Urgency::Background, move |module| Ok(module.key(&name)?.public_key_der().to_vec()))
    }

    /// See [`Ftm::begin_rotation`].
    pub fn begin_rotation(
        &self,
        name: &str,
        common_name: &str,
        organisation: &str,
    ) -> oneshot::Receiver<Result<Vec<u8>, FtmError>> {
        let (name, common_name, organisation) =
            (name.to_owned(), common_name.to_owned(), organisation.to_owned());
        self.submit(Urgency::Background, move |module| {
            module.ftm.begin_rotation(&name, &common_name, &organisation)
        })
    }

    /// See [`Ftm::next_public_key`].
    pub fn next_public_key(&self, name: &str) -> oneshot::Receiver<Result<Option<Vec<u8>>, FtmError>> {
        let name = name.to_owned();
        self.submit(Urgency::Background, move |module| module.ftm.next_public_key(&name))
    }

    /// See [`Ftm::finish_rotation`].
    pub fn finish_rotation(&self, name: &str) -> oneshot::Receiver<Result<(), FtmError>> {
        let name = name.to_owned();
        self.submit(Urgency::Background, move |module| {
            module.loaded.remove(&name);
            module.ftm.finish_rotation(&name)
        })
    }

    /// See [`Ftm::destroy`].
    pub fn destroy(&self, name: &str) -> oneshot::Receiver<Result<(), FtmError>> {
        let name = name.to_owned();
        self.submit(Urgency::Background, move |module| {
            module.loaded.remove(&name);
            module.ftm.destroy(&name)
        })
    }

    fn submit<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&mut Module) -> Result<T, FtmError> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, FtmError>> {
        let (answer, receiver) = oneshot::channel();
        let mut queues = self.shared.lock();
        let queue = match urgency {
            Urgency::Interactive => &mut queues.interactive,
            Urgency::Background => &mut queues.background,
        };
        if queue.len() < DEPTH {
            queue.push_back(Box::new(move |module| {
                // nobody waits any more: do not spend a signature on it
                if !answer.is_closed() {
                    let _ = answer.send(work(module));
                }
            }));
        }
        drop(queues);
        self.shared.wake.notify_one();
        receiver
    }
}

impl Module {
    fn key(&mut self, name: &str) -> Result<&mut Box<dyn KeyHandle>, FtmError> {
        match self.loaded.entry(name.to_owned()) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => Ok(entry.insert(self.ftm.load(name)?)),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most urgent job, once there is one; `None` when the handle is gone and nothing is left to do.
    fn next(&self) -> Option<Job> {
        let mut queues = self.lock();
        loop {
            let next = queues.interactive.pop_front().or_else(|| queues.background.pop_front());
            if next.is_some() || queues.closed {
                return next;
            }
            queues = self.wake.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for FtmThread {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An FTM whose keys sign by reversing, so that the order of jobs can be seen without cryptography.
    struct Reversing(mpsc::Sender<String>);
    struct Key(String, mpsc::Sender<String>);

    impl KeyHandle for Key {
        fn sign_rs256(&mut self, message: &[u8]) -> Result<Vec<u8>, FtmError> {
            self.1.send(format!("{}:{}", self.0, String::from_utf8_lossy(message))).unwrap();
            Ok(message.iter().rev().copied().collect())
        }
        fn public_key_der(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }

    impl Ftm for Reversing {
        fn begin_rotation(&mut self, name: &str, _: &str, _: &str) -> Result<Vec<u8>, FtmError> {
            Ok(name.as_bytes().to_vec())
        }
        fn finish_rotation(&mut self, _: &str) -> Result<(), FtmError> {
            Ok(())
        }
        fn load(&mut self, name: &str) -> Result<Box<dyn KeyHandle>, FtmError> {
            if name == "none" {
                return Err(FtmError::NoKey(name.into()));
            }
            Ok(Box::new(Key(name.into(), self.0.clone())))
        }
        fn next_public_key(&mut self, _: &str) -> Result<Option<Vec<u8>>, FtmError> {
            Ok(None)
        }
        fn destroy(&mut self, _: &str) -> Result<(), FtmError> {
            Ok(())
        }
    }

    #[test]
    fn interactive_goes_first_and_the_thread_drains_before_it_is_joined() {
        let (log, seen) = mpsc::channel();
        let thread = FtmThread::start(Box::new(Reversing(log))).unwrap();
        let (release, gate) = mpsc::channel::<()>();
        let blocker = thread.submit(Urgency::Background, move |_| {
            gate.recv().unwrap();
            Ok(())
        });
        let slow = thread.sign(Urgency::Background, "a", b"a", b"slow".to_vec());
        let fast = thread.sign(Urgency::Interactive, "a", b"a", b"fast".to_vec());
        let forgotten = thread.sign(Urgency::Interactive, "a", b"a", b"forgotten".to_vec());
        drop(forgotten);
        release.send(()).unwrap();
        drop(thread);
        blocker.blocking_recv().unwrap().unwrap();
        assert_eq!(fast.blocking_recv().unwrap().unwrap().1, b"tsaf");
        assert_eq!(slow.blocking_recv().unwrap().unwrap().1, b"wols");
        assert_eq!(seen.iter().collect::<Vec<_>>(), ["a:fast", "a:slow"], "nobody waited for the third");
    }

    #[test]
    fn a_missing_or_rotated_key_is_an_error_of_its_own() {
        let thread = FtmThread::start(Box::new(Reversing(mpsc::channel().0))).unwrap();
        for (name, key) in [("none", b"none"), ("a", b"old?")] {
            let answer = thread.sign(Urgency::Interactive, name, key, Vec::new()).blocking_recv().unwrap();
            assert!(matches!(answer, Err(FtmError::NoKey(_))), "{name}");
        }
    }

    #[test]
    fn a_panic_in_the_module_costs_one_job() {
        let thread = FtmThread::start(Box::new(Reversing(mpsc::channel().0))).unwrap();
        let broken = thread.submit::<()>(Urgency::Interactive, |_| panic!("of a module"));
        assert!(broken.blocking_recv().is_err(), "nobody waits for ever");
        assert_eq!(thread.begin_rotation("a", "", "").blocking_recv().unwrap().unwrap(), b"a");
    }
}

//! The one thread that calls the host's FTM: interactive signatures go before everything else, and what can wait for a
//! quiet moment does.
//!
//! A module such as a TPM is one queue; two threads in it would only wait for each other, and some libraries break.
//! The thread is joined when the last handle goes, so that the module is left in order.
//!
//! A key that is rotated away goes on signing for those who hold it ([`FtmThread::hold`]) and for nobody else: what began
//! with the old pair of key and certificate ends with it. Its files are gone by then; only this process has it still,
//! until the last holder lets go, and never longer than [`OVERLAP`].

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use biotrust_driver_api::{Ftm, FtmError, KeyHandle};
use biotrust_model::evidence::{Binding, FtmKind, KeySlot, Proof};
use tokio::sync::oneshot;

/// Which queue a job waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody stands in front of a device.
    Interactive,
    /// Enrolment, rotation, checks.
    Background,
}

/// An answer that comes later; the error of the channel means that the module is gone or overloaded.
pub type Pending<T> = oneshot::Receiver<Result<T, FtmError>>;

/// How many jobs may wait per queue; beyond that the module is not keeping up and new ones are refused.
const DEPTH: usize = 1024;
/// The longest that a key outlives its rotation: the longest capture that a client can ask for, and some.
pub const OVERLAP: Duration = Duration::from_secs(320);
/// How long nobody must have wanted anything before the module does what can wait: making a key takes a discrete TPM
/// seconds, in which it signs nothing.
const QUIET: Duration = Duration::from_secs(2);

/// The right to sign with one key even after it was rotated away; dropping it gives the right up.
#[derive(Debug)]
pub struct KeyHold {
    name: String,
    public_key: Vec<u8>,
    shared: Weak<Shared>,
}

impl Drop for KeyHold {
    fn drop(&mut self) {
        // the key may be waiting for nobody else
        if let Some(shared) = self.shared.upgrade() {
            shared.lock().let_go = true;
            shared.wake.notify_one();
        }
    }
}

/// The FTM with the keys that are loaded.
struct Module {
    ftm: Box<dyn Ftm>,
    loaded: HashMap<String, Box<dyn KeyHandle>>,
    retired: Vec<Retired>,
    shared: Arc<Shared>,
}

/// A key that was rotated away while somebody held it.
struct Retired {
    name: String,
    key: Box<dyn KeyHandle>,
    until: Instant,
}

type Job = Box<dyn FnOnce(&mut Module) + Send>;

/// What the thread does next.
enum Next {
    Job(Job),
    /// A hold was let go: only old keys have to be looked at.
    LetGo,
    /// Nothing happened for the time that was asked for.
    Quiet,
    Ended,
}

#[derive(Default)]
struct Queues {
    interactive: VecDeque<Job>,
    background: VecDeque<Job>,
    closed: bool,
    let_go: bool,
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    wake: Condvar,
    holds: Mutex<Vec<Weak<KeyHold>>>,
    notices: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// Handle on the FTM thread.
pub struct FtmThread {
    kind: FtmKind,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl FtmThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(ftm: Box<dyn Ftm>) -> std::io::Result<Self> {
        let (kind, shared) = (ftm.kind(), Arc::new(Shared::default()));
        let mut module =
            Module { ftm, loaded: HashMap::new(), retired: Vec::new(), shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name("ftm".into()).spawn(move || module.work())?;
        Ok(Self { kind, shared, thread: Mutex::new(Some(thread)) })
    }

    /// What kind of module it is.
    #[must_use]
    pub const fn kind(&self) -> FtmKind {
        self.kind
    }

    /// What the module last had to say to a technician.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        locked(&self.shared.notices).clone()
    }

    /// Keeps the key `public_key` (SPKI, DER) of `name` usable beyond its rotation, for as long as the answer is held.
    #[must_use]
    pub fn hold(&self, name: &str, public_key: &[u8]) -> Arc<KeyHold> {
        let shared = Arc::downgrade(&self.shared);
        let hold = Arc::new(KeyHold { name: name.to_owned(), public_key: public_key.to_vec(), shared });
        let mut holds = locked(&self.shared.holds);
        holds.retain(|hold| hold.strong_count() > 0);
        holds.push(Arc::downgrade(&hold));
        hold
    }

    /// Signs `message` (RS256) with the key of `name` that is `public_key` (SPKI, DER), which the certificate beside the
    /// signature belongs to. The message comes back with its signature: it may be large.
    ///
    /// The answer is `NoKey` where that is not the current key, nor one that somebody still holds.
    pub fn sign<M: AsRef<[u8]> + Send + 'static>(
        &self,
        urgency: Urgency,
        name: &str,
        public_key: &[u8],
        message: M,
    ) -> Pending<(M, Vec<u8>)> {
        let (name, public_key) = (name.to_owned(), public_key.to_vec());
        self.submit(urgency, move |module| {
            let signature = module.key(&name, &public_key)?.sign_rs256(message.as_ref())?;
            Ok((message, signature))
        })
    }

    /// SubjectPublicKeyInfo (DER) of the current key, loading it.
    pub fn public_key(&self, name: &str) -> Pending<Vec<u8>> {
        let name = name.to_owned();
        self.submit(Urgency::Background, move |module| Ok(module.current(&name)?.public_key_der().to_vec()))
    }

    /// See [`Ftm::begin_rotation`].
    pub fn begin_rotation(&self, name: &str, common_name: &str, organisation: &str) -> Pending<Vec<u8>> {
        let (name, common_name, organisation) =
            (name.to_owned(), common_name.to_owned(), organisation.to_owned());
        self.submit(Urgency::Background, move |module| {
            module.ftm.begin_rotation(&name, &common_name, &organisation)
        })
    }

    /// See [`Ftm::next_public_key`].
    pub fn next_public_key(&self, name: &str) -> Pending<Option<Vec<u8>>> {
        let name = name.to_owned();
        self.submit(Urgency::Background, move |module| module.ftm.next_public_key(&name))
    }

    /// See [`Ftm::sign_next_rs256`].
    pub fn sign_next(&self, name: &str, message: Vec<u8>) -> Pending<Vec<u8>> {
        let name = name.to_owned();
        self.submit(Urgency::Background, move |module| module.ftm.sign_next_rs256(&name, &message))
    }

    /// See [`Ftm::finish_rotation`]. Who holds the old key goes on signing with it.
    pub fn finish_rotation(&self, name: &str) -> Pending<()> {
        let name = name.to_owned();
        self.submit(Urgency::Background, move |module| module.switch(&name))
    }

    /// See [`Ftm::destroy`]. Nobody signs with any key of `name` after this, whoever holds one.
    pub fn destroy(&self, name: &str) -> Pending<()> {
        let name = name.to_owned();
        self.submit(Urgency::Background, move |module| {
            module.loaded.remove(&name);
            module.retired.retain(|retired| retired.name != name);
            module.ftm.destroy(&name)
        })
    }

    /// See [`Ftm::prove`].
    pub fn prove(&self, binding: Binding, key: Option<(String, KeySlot)>) -> Pending<Proof> {
        self.submit(Urgency::Background, move |module| {
            module.ftm.prove(&binding, key.as_ref().map(|(name, slot)| (name.as_str(), *slot)))
        })
    }

    /// See [`Ftm::identity_chain`].
    pub fn identity_chain(&self) -> Pending<Vec<Vec<u8>>> {
        self.submit(Urgency::Background, |module| module.ftm.identity_chain())
    }

    /// See [`Ftm::sign_identity_rs256`].
    pub fn sign_identity(&self, message: Vec<u8>) -> Pending<Vec<u8>> {
        self.submit(Urgency::Background, move |module| module.ftm.sign_identity_rs256(&message))
    }

    /// Anything else that somebody who looks after the module may want of it; goes behind what somebody waits for.
    pub fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Ftm) -> Result<T, FtmError> + Send + 'static,
    ) -> Pending<T> {
        self.submit(Urgency::Background, move |module| work(module.ftm.as_mut()))
    }

    /// Takes no more jobs, and waits until those that wait are done and the module is closed.
    pub fn end(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        if let Some(thread) = locked(&self.thread).take() {
            let _ = thread.join();
        }
    }

    fn submit<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&mut Module) -> Result<T, FtmError> + Send + 'static,
    ) -> Pending<T> {
        let (answer, receiver) = oneshot::channel();
        let mut queues = self.shared.lock();
        let closed = queues.closed;
        let queue = match urgency {
            Urgency::Interactive => &mut queues.interactive,
            Urgency::Background => &mut queues.background,
        };
        if queue.len() < DEPTH && !closed {
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
    fn work(&mut self) {
        self.listen();
        let mut can_wait = true;
        loop {
            let patience = (can_wait || !self.retired.is_empty()).then_some(QUIET);
            let next = self.shared.next(patience);
            // before a job, so that none signs with a key that was let go before it was asked for
            self.sweep();
            match next {
                Next::Job(job) => {
                    self.guarded(|module| job(module));
                    can_wait = true;
                }
                Next::Quiet if can_wait => can_wait = self.guarded(Self::idle).unwrap_or(false),
                Next::Quiet | Next::LetGo => {}
                Next::Ended => return,
            }
        }
    }

    /// A fault in a module costs one job: whoever waits for it sees the answer dropped.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self))).ok();
        if done.is_none() {
            tracing::error!("a job of the FTM panicked; its keys are loaded again");
            self.loaded.clear();
        }
        done
    }

    /// What can wait; tells whether there is more of it.
    fn idle(&mut self) -> bool {
        let more = self.ftm.idle().unwrap_or_else(|error| {
            tracing::warn!(%error, "the FTM could not make a key ahead of time; a rotation makes one when it comes");
            false
        });
        self.listen();
        more
    }

    fn listen(&mut self) {
        let notices = self.guarded(|module| module.ftm.notices()).unwrap_or_default();
        *locked(&self.shared.notices) = notices;
    }

    /// The current key.
    fn current(&mut self, name: &str) -> Result<&mut Box<dyn KeyHandle>, FtmError> {
        match self.loaded.entry(name.to_owned()) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => Ok(entry.insert(self.ftm.load(name)?)),
        }
    }

    /// This very key, current or held.
    fn key(&mut self, name: &str, public_key: &[u8]) -> Result<&mut Box<dyn KeyHandle>, FtmError> {
        let held = |retired: &Retired| retired.name == name && retired.key.public_key_der() == public_key;
        if let Some(at) = self.retired.iter().position(held) {
            let retired = self.retired.get_mut(at).map(|retired| &mut retired.key);
            return retired.ok_or_else(|| FtmError::NoKey(name.to_owned()));
        }
        let current = self.current(name)?;
        if current.public_key_der() == public_key {
            Ok(current)
        } else {
            Err(FtmError::NoKey(name.to_owned()))
        }
    }

    /// Makes the next key the current one; the old one is kept in memory for those who hold it.
    fn switch(&mut self, name: &str) -> Result<(), FtmError> {
        let wanted = locked(&self.shared.holds).iter().filter_map(Weak::upgrade).any(|h| h.name == name);
        // a first enrolment has no old key, and one that cannot be loaded signs for nobody anyway
        let loaded = wanted && self.current(name).is_ok();
        self.ftm.finish_rotation(name)?;
        let old = self.loaded.remove(name).filter(|_| loaded);
        if let Some(key) = old {
            self.retired.push(Retired { name: name.to_owned(), key, until: Instant::now() + OVERLAP });
        }
        Ok(())
    }

    /// Unloads old keys that nobody holds any more, or has held for too long.
    fn sweep(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let holds: Vec<_> = locked(&self.shared.holds).iter().filter_map(Weak::upgrade).collect();
        let now = Instant::now();
        self.retired.retain(|retired| {
            let key = retired.key.public_key_der();
            now < retired.until && holds.iter().any(|h| h.name == retired.name && h.public_key == key)
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        locked(&self.queues)
    }

    /// The most urgent job, once there is one; [`Next::Ended`] when the handle is gone and nothing is left to do.
    fn next(&self, patience: Option<Duration>) -> Next {
        let mut queues = self.lock();
        loop {
            if let Some(job) = queues.interactive.pop_front().or_else(|| queues.background.pop_front()) {
                return Next::Job(job);
            }
            if queues.closed {
                return Next::Ended;
            }
            if std::mem::take(&mut queues.let_go) {
                return Next::LetGo;
            }
            queues = match patience {
                None => self.wake.wait(queues).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (queues, waited) =
                        self.wake.wait_timeout(queues, patience).unwrap_or_else(PoisonError::into_inner);
                    let nothing = queues.interactive.is_empty() && queues.background.is_empty();
                    if waited.timed_out() && nothing && !queues.closed {
                        return Next::Quiet;
                    }
                    queues
                }
            };
        }
    }
}

impl Drop for FtmThread {
    fn drop(&mut self) {
        self.end();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An FTM whose keys sign by reversing, so that the order of jobs can be seen without cryptography. The key of a name
    /// is the name and the number of rotations.
    struct Reversing {
        log: mpsc::Sender<String>,
        rotations: usize,
        /// What is still to be done in quiet moments.
        idle: usize,
    }
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

    impl Drop for Key {
        fn drop(&mut self) {
            let _ = self.1.send(format!("{} unloaded", self.0));
        }
    }

    impl Ftm for Reversing {
        fn begin_rotation(&mut self, name: &str, _: &str, _: &str) -> Result<Vec<u8>, FtmError> {
            Ok(name.as_bytes().to_vec())
        }
        fn finish_rotation(&mut self, _: &str) -> Result<(), FtmError> {
            self.rotations += 1;
            Ok(())
        }
        fn load(&mut self, name: &str) -> Result<Box<dyn KeyHandle>, FtmError> {
            if name == "none" {
                return Err(FtmError::NoKey(name.into()));
            }
            Ok(Box::new(Key(format!("{name}{}", self.rotations), self.log.clone())))
        }
        fn next_public_key(&mut self, _: &str) -> Result<Option<Vec<u8>>, FtmError> {
            Ok(None)
        }
        fn destroy(&mut self, _: &str) -> Result<(), FtmError> {
            Ok(())
        }
        fn kind(&self) -> FtmKind {
            FtmKind::Software
        }
        fn sign_next_rs256(&mut self, _: &str, message: &[u8]) -> Result<Vec<u8>, FtmError> {
            Ok(message.to_vec())
        }
        fn prove(&mut self, _: &Binding, _: Option<(&str, KeySlot)>) -> Result<Proof, FtmError> {
            Ok(Proof::Software)
        }
        fn idle(&mut self) -> Result<bool, FtmError> {
            self.idle = self.idle.saturating_sub(1);
            self.log.send("idle".into()).unwrap();
            Ok(self.idle > 0)
        }
        fn notices(&mut self) -> Vec<String> {
            vec![format!("{} to do", self.idle)]
        }
    }

    fn started() -> (FtmThread, mpsc::Receiver<String>) {
        let (log, seen) = mpsc::channel();
        (FtmThread::start(Box::new(Reversing { log, rotations: 0, idle: 2 })).unwrap(), seen)
    }

    fn signs(thread: &FtmThread, key: &str) -> bool {
        let answer = thread.sign(Urgency::Interactive, "a", key.as_bytes(), b"x".to_vec());
        match answer.blocking_recv().unwrap() {
            Ok(_) => true,
            Err(FtmError::NoKey(_)) => false,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn interactive_goes_first_and_the_thread_drains_before_it_is_joined() {
        let (thread, seen) = started();
        let (release, gate) = mpsc::channel::<()>();
        let blocker = thread.submit(Urgency::Background, move |_| {
            gate.recv().unwrap();
            Ok(())
        });
        let slow = thread.sign(Urgency::Background, "a", b"a0", b"slow".to_vec());
        let fast = thread.sign(Urgency::Interactive, "a", b"a0", b"fast".to_vec());
        let forgotten = thread.sign(Urgency::Interactive, "a", b"a0", b"forgotten".to_vec());
        drop(forgotten);
        release.send(()).unwrap();
        drop(thread);
        blocker.blocking_recv().unwrap().unwrap();
        assert_eq!(fast.blocking_recv().unwrap().unwrap().1, b"tsaf");
        assert_eq!(slow.blocking_recv().unwrap().unwrap().1, b"wols");
        let seen: Vec<_> = seen.iter().collect();
        assert_eq!(seen, ["a0:fast", "a0:slow", "a0 unloaded"], "nobody waited for the third");
    }

    #[test]
    fn what_comes_after_the_end_is_refused_and_waits_for_nothing() {
        let (thread, _seen) = started();
        thread.end();
        thread.end();
        assert!(thread.public_key("a").blocking_recv().is_err());
    }

    #[test]
    fn a_missing_or_rotated_key_is_an_error_of_its_own() {
        let (thread, _seen) = started();
        for (name, key) in [("none", b"none"), ("a", b"old?")] {
            let answer = thread.sign(Urgency::Interactive, name, key, Vec::new()).blocking_recv().unwrap();
            assert!(matches!(answer, Err(FtmError::NoKey(_))), "{name}");
        }
    }

    #[test]
    fn a_rotated_key_signs_for_those_who_hold_it_and_is_unloaded_when_the_last_lets_go() {
        let (thread, seen) = started();
        let (one, two) = (thread.hold("a", b"a0"), thread.hold("a", b"a0"));
        thread.finish_rotation("a").blocking_recv().unwrap().unwrap();
        assert!(signs(&thread, "a0") && signs(&thread, "a1"), "both, for a while");
        drop(one);
        assert!(signs(&thread, "a0"), "somebody holds it still");
        drop(two);
        let gone = seen.iter().find(|line| line.ends_with("unloaded"));
        assert_eq!(gone.as_deref(), Some("a0 unloaded"), "at once, without another job");
        assert!(!signs(&thread, "a0") && signs(&thread, "a1"));
    }

    #[test]
    fn a_rotated_key_that_nobody_holds_is_gone_and_a_destroyed_one_is_gone_for_everybody() {
        let (thread, _seen) = started();
        assert!(signs(&thread, "a0"));
        thread.finish_rotation("a").blocking_recv().unwrap().unwrap();
        assert!(!signs(&thread, "a0") && signs(&thread, "a1"));
        let _hold = thread.hold("a", b"a1");
        thread.finish_rotation("a").blocking_recv().unwrap().unwrap();
        assert!(signs(&thread, "a1"));
        thread.destroy("a").blocking_recv().unwrap().unwrap();
        assert!(!signs(&thread, "a1"), "whoever holds it");
    }

    #[test]
    fn what_can_wait_waits_for_a_quiet_moment_and_is_told() {
        let (thread, seen) = started();
        assert!(signs(&thread, "a0"));
        assert_eq!(thread.notices(), ["2 to do"]);
        let begun = Instant::now();
        assert_eq!(seen.iter().take(3).collect::<Vec<_>>(), ["a0:x", "idle", "idle"]);
        assert!(begun.elapsed() >= QUIET, "not while somebody may come back");
        assert!(signs(&thread, "a0"));
        assert_eq!(thread.notices(), ["0 to do"]);
    }

    #[test]
    fn a_panic_in_the_module_costs_one_job() {
        let (thread, _seen) = started();
        let broken = thread.submit::<()>(Urgency::Interactive, |_| panic!("of a module"));
        assert!(broken.blocking_recv().is_err(), "nobody waits for ever");
        assert_eq!(thread.begin_rotation("a", "", "").blocking_recv().unwrap().unwrap(), b"a");
    }
}

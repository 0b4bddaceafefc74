//! Threads that wait for web servers, so that no core does.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// The most servers that are waited for at a time.
const MOST: usize = 16;

type Task = Box<dyn FnOnce() + Send>;

/// At most [`MOST`] threads, started one by one as there is something to fetch.
pub(super) struct Fetchers {
    queue: Sender<Task>,
    tasks: Arc<Mutex<Receiver<Task>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Fetchers {
    pub(super) fn new() -> Self {
        let (queue, tasks) = channel();
        Self { queue, tasks: Arc::new(Mutex::new(tasks)), threads: Vec::new() }
    }

    /// Lets a thread do `task`, which does not panic; where the system gives none, it is done here.
    pub(super) fn fetch(&mut self, task: impl FnOnce() + Send + 'static) {
        if self.threads.len() < MOST {
            let tasks = self.tasks.clone();
            let work = move || {
                while let Ok(task) = next(&tasks) {
                    task();
                }
            };
            // Those there are do it all where the system gives no more.
            self.threads.extend(thread::Builder::new().name("fetcher".to_owned()).spawn(work).ok());
        }
        if self.threads.is_empty() {
            task();
        } else {
            self.queue.send(Box::new(task)).expect("the receiver is kept here");
        }
    }

    /// Waits until all is fetched.
    pub(super) fn join(self) {
        let Self { queue, threads, .. } = self;
        drop(queue);
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn next(tasks: &Mutex<Receiver<Task>>) -> Result<Task, std::sync::mpsc::RecvError> {
    tasks.lock().unwrap_or_else(PoisonError::into_inner).recv()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn all_is_fetched_by_a_bounded_number_of_threads() {
        let (fetched, at_a_time, most) = (Arc::default(), Arc::default(), Arc::default());
        let mut fetchers = Fetchers::new();
        for _ in 0..200 {
            let (fetched, at_a_time, most): (Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>) =
                (Arc::clone(&fetched), Arc::clone(&at_a_time), Arc::clone(&most));
            fetchers.fetch(move || {
                most.fetch_max(at_a_time.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                fetched.fetch_add(1, Ordering::SeqCst);
                at_a_time.fetch_sub(1, Ordering::SeqCst);
            });
        }
        assert!(fetchers.threads.len() <= MOST);
        fetchers.join();
        assert_eq!(fetched.load(Ordering::SeqCst), 200);
        assert!(most.load(Ordering::SeqCst) <= MOST);
    }
}

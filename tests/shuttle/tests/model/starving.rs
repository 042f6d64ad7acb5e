//! A scheduler for what takes a thread that is kept waiting at one place while the others go far.

use shuttle::scheduler::{RandomScheduler, Schedule, Scheduler, Task, TaskId};

/// Anybody's turn is next, but that now and then the thread at work gets none for a while, as happens where processors are few.
#[derive(Debug)]
pub struct StarvingScheduler {
    random: RandomScheduler,
    state: u64,
    /// Who gets no turn, and for how many more.
    starved: Option<(TaskId, u32)>,
    /// Interleavings to come.
    left: usize,
}

impl StarvingScheduler {
    pub fn new_from_seed(seed: u64) -> Self {
        StarvingScheduler {
            random: RandomScheduler::new_from_seed(seed, usize::MAX),
            state: seed | 1,
            starved: None,
            left: usize::MAX,
        }
    }

    /// So many interleavings and no more.
    pub fn at_most(self, interleavings: usize) -> Self {
        StarvingScheduler { left: interleavings, ..self }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below
    }
}

impl Scheduler for StarvingScheduler {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.left = self.left.checked_sub(1)?;
        self.starved = None;
        self.random.new_execution()
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        const ONE_IN: u64 = 400;
        let begins = self.draw(ONE_IN) == 0;
        self.starved = match self.starved {
            Some((task, turns)) if turns > 0 => Some((task, turns - 1)),
            _ if begins => current.map(|task| (task, 1 << self.draw(14))),
            _ => None,
        };
        let starved = self.starved.map(|(task, _)| task);
        let others: Vec<&Task> = runnable.iter().copied().filter(|task| Some(task.id()) != starved).collect();
        let runnable = if others.is_empty() { runnable } else { &others };
        self.random.next_task(runnable, current, is_yielding)
    }

    fn next_u64(&mut self) -> u64 {
        self.random.next_u64()
    }
}

//! What a history does with what is on its way, where control operations take a while: looks, time, restarts, and what they must
//! leave.
//!
//! A reshard that is due is done by whoever looks at the stream next. The model has it done at the same moment, so that puts and
//! reads, which look at nothing, are held against the shards from before it until then.

use std::time::Duration;

use braidlog::stream::{HashKey, ShardFilter};

use super::{Run, adopt, id};
use crate::ensure;
use crate::oracle::{Kind, Reshard, StreamModel, Verdict, uniform};

impl Run {
    /// Whether what was asked of the stream's shards is done. Nothing is done for the question.
    fn is_resharded(&self, name: &str) -> Verdict<bool> {
        let stream = self.stream(name)?;
        for shard in self.model.streams[name].open() {
            let children = stream.child_shards(id(shard.index)).map_err(|e| format!("{name} {}: {e}", shard.index))?;
            if !children.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// After something that does what is due, it is done, and nothing before it is due.
    pub(super) fn exactly_what_is_due_is_done(&self, after: &str) -> Verdict {
        for (name, model) in self.model.streams.iter().filter(|(_, model)| model.asked.is_some()) {
            let (done, due) = (self.is_resharded(name)?, model.due(self.now_ms(), self.time_ms).is_some());
            ensure!(done == due, "{name}: after {after}, {:?}: due {due}, done {done}", model.asked);
        }
        Ok(())
    }

    /// The engine looked at this stream: what is due is done. The steps of a scaling are the engine's choice, its end is not.
    pub(super) fn looked_at(&self, name: &str, model: &mut StreamModel) -> Verdict {
        let Some(what) = model.due(self.now_ms(), self.time_ms) else { return Ok(()) };
        model.asked = None;
        match what {
            Reshard::Scale { target } => {
                adopt(name, model, &self.stream(name)?.shards())?;
                ensure!(model.ranges() == uniform(target), "{name}: scaled to {target} it has {:?}", model.ranges());
                Ok(())
            }
            _ => model.reshard(what).map_err(|kind| format!("{name}: {what:?} is {kind:?} when it is due")),
        }
    }

    /// Somebody looks at a stream, in any of the ways there are, if there is something due to see.
    pub fn look(&mut self, name: &str) -> Verdict {
        let Some(model) = self.model.streams.get(name) else { return Ok(()) };
        if self.is_dead() || model.due(self.now_ms(), self.time_ms).is_none() {
            return Ok(());
        }
        let stream = self.stream(name)?;
        self.may_die_soon();
        match self.tape.choose("look", 7) {
            0 => drop(stream.describe()),
            1 => drop(stream.shards()),
            2 => drop(stream.open_shards()),
            3 => drop(self.hear("list", stream.list_shards(ShardFilter::default(), None, 1), None)?),
            // The rest are refused once what is due is done, for then the stream is active.
            4 => self.hear("look", stream.split_shard(id(999_999), HashKey(5)), Some(Kind::NotFound)).map(drop)?,
            5 => self.hear("look", stream.set_warm_throughput_mib(10_241), Some(Kind::Invalid)).map(drop)?,
            _ => {
                let none = stream.register_consumer("", [("", ""); 0]);
                self.hear("look", none, Some(Kind::Invalid)).map(drop)?;
            }
        }
        self.was_looked_at(name)
    }

    fn was_looked_at(&mut self, name: &str) -> Verdict {
        // What a dying machine did is seen when it starts again.
        if self.is_dead() {
            return Ok(());
        }
        let mut model = self.model.streams[name].clone();
        self.looked_at(name, &mut model)?;
        self.model.streams.insert(name.to_owned(), model);
        self.learn_of(name)
    }

    pub(super) fn look_at_all(&mut self) -> Verdict {
        let names: Vec<String> = self.model.streams.keys().cloned().collect();
        for name in names {
            if !self.is_dead() && self.model.streams[&name].due(self.now_ms(), self.time_ms).is_some() {
                drop(self.stream(&name)?.describe());
                self.was_looked_at(&name)?;
            }
        }
        Ok(())
    }

    /// Before a call that looks at the stream itself. If the machine dies in it, what is due is done when it starts again.
    pub(super) fn comes_due(&mut self, name: &str) -> Verdict {
        match self.model.streams.get(name).and_then(|model| model.due(self.now_ms(), self.time_ms)) {
            Some(Reshard::Scale { .. }) => self.look(name),
            Some(_) if !self.is_dead() => {
                self.may_die_soon();
                let mut model = self.model.streams[name].clone();
                self.looked_at(name, &mut model)?;
                self.model.streams.insert(name.to_owned(), model);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The steps from a call to what comes of it are few among all that a history does: more machines die in them.
    pub(super) fn may_die_soon(&mut self) {
        if !self.transition_time.is_zero() && self.is_random() && self.tape.choose("die_soon", 8) == 7 {
            self.disk.set_torn_crash_at(self.disk.operations() + self.tape.choose("die_soon_at", 6));
        }
    }

    /// Time passes until shortly before, at or after the end of something that is on its way, or part of the way there.
    pub(super) fn pass_time(&mut self) -> Verdict {
        let now_ms = self.now_ms();
        let ends_ms: Vec<u64> = self.model.ends_ms(now_ms, self.time_ms).into_iter().collect();
        if ends_ms.is_empty() {
            return Ok(());
        }
        let left_ms = ends_ms[self.tape.choose("end", ends_ms.len() as u64) as usize] - now_ms;
        let ms = match self.tape.choose("pass", 5) {
            0 => left_ms / 2,
            1 => left_ms - 1,
            2 | 3 => left_ms,
            _ => left_ms + self.tape.choose("more", 100),
        };
        self.clock.advance(Duration::from_millis(ms));
        if self.tape.choose("maintain", 4) == 0 { self.maintain() } else { Ok(()) }
    }

    /// A machine that is off for a while.
    pub(super) fn stay_off(&self) {
        if !self.transition_time.is_zero() && self.tape.choose("off", 2) == 0 {
            let most_ms = self.transition_time.as_millis() as u64 * 2;
            self.clock.advance(Duration::from_millis(self.tape.choose("off_ms", most_ms + 1)));
        }
    }
}

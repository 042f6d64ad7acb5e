//! A stream, a reshard, and a consumer group that follows it.

use braidlog::Engine;
use braidlog::stream::{GroupOptions, HashKey, RecordBatch, StreamOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(folder.path())?;
    let clicks = engine.create_stream("clicks", StreamOptions::new().retention_hours(48))?;
    for i in 0..10 {
        clicks.put_record(&format!("user-{i}"), format!("click {i}").as_bytes())?;
    }
    clicks.split_shard(clicks.shards()[0].shard_id, HashKey(1 << 127))?;
    for i in 10..20 {
        clicks.put_record(&format!("user-{i}"), format!("click {i}").as_bytes())?;
    }
    let billing = clicks.consumer_group("billing", GroupOptions::new())?;
    let mut worker = billing.worker("worker-1", |shard| {
        move |batch: &mut RecordBatch<'_>| {
            for record in batch.records() {
                println!("{shard} {:?} {:?}", record.partition_key(), record.data);
            }
            Ok(())
        }
    })?;
    while worker.step()? {}
    for shard in billing.progress()? {
        println!("{}: {} behind, finished: {}", shard.shard_id, shard.records_behind, shard.finished);
    }
    drop(worker);
    engine.close()?;
    Ok(())
}

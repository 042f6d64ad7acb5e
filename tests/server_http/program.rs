//! `braidlog serve`, `health` and `env` as a script meets them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::client::{Answer, call, connect, get};
use crate::tls;

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_braidlog"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["BRAIDLOG_STORE", "BRAIDLOG_ACCESS_KEY_ID", "BRAIDLOG_SECRET_ACCESS_KEY"] {
        command.env_remove(variable);
    }
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A server at a free port, and what it said up to `Ready.`.
struct Served {
    child: Child,
    lines: Vec<String>,
}

impl Served {
    fn start(mut command: Command) -> Served {
        let mut child = command.spawn().unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
            lines.push(line.unwrap());
            if lines.last().unwrap().contains("eady") {
                return Served { child, lines };
            }
        }
        let mut why = String::new();
        child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        child.wait().unwrap();
        panic!("it ended: {lines:?} {why}");
    }

    fn endpoint(&self) -> &str {
        self.lines[0].strip_prefix("Listening on ").unwrap()
    }

    fn ask(&self, request: &str) -> Answer {
        let mut stream = connect(self.endpoint().strip_prefix("http://").unwrap().parse().unwrap());
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream).unwrap()
    }

    /// Asks it to end; its exit code and its log.
    fn stop(mut self, signal: rustix::process::Signal) -> (Option<i32>, String) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status.code(), log)
    }
}

#[test]
fn it_says_where_it_listens_and_that_it_is_ready_and_ends_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let served = Served::start(command(dir.path(), &["serve", "--port", "0", "--listen", "127.0.0.1:0"]));
        assert_eq!(served.lines.len(), 4, "{:?}", served.lines);
        assert!(served.lines[1].starts_with("Listening on http://127.0.0.1:"));
        assert!(served.lines[2].contains("Authentication is off"));
        assert_eq!(served.lines[3], "Ready.");
        assert_eq!(served.ask(&get("/health")).status, 200);
        let health = run(dir.path(), &["health", "--endpoint", served.endpoint()]);
        assert_eq!(health.status.code(), Some(0), "{}", text(&health.stderr));
        let endpoint = served.endpoint().to_owned();
        let (code, log) = served.stop(signal);
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("listening") && log.contains("stopped"), "{log}");
        let health = run(dir.path(), &["health", "--endpoint", &endpoint]);
        assert_eq!(health.status.code(), Some(1));
        assert!(text(&health.stderr).starts_with("braidlog: no server answers at "), "{}", text(&health.stderr));
    }
    let check = run(dir.path(), &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
}

#[test]
fn tail_stops_after_as_many_records_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(command(dir.path(), &["serve", "--port", "0", "--in-memory"]));
    let call = |operation: &str, body: &str| {
        let answer = served.ask(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    call("CreateStream", r#"{"StreamName":"clicks","ShardCount":1}"#);
    for _ in 0..5 {
        call("PutRecord", r#"{"StreamName":"clicks","PartitionKey":"a","Data":"eA=="}"#);
    }
    let lines = |more: &[&str]| {
        let args = [&["tail", "clicks", "--from", "trim", "--endpoint", served.endpoint()], more].concat();
        let tail = run(dir.path(), &args);
        assert_eq!(tail.status.code(), Some(0), "{}", text(&tail.stderr));
        text(&tail.stdout).lines().count()
    };
    assert_eq!(lines(&["--count", "2"]), 2);
    assert_eq!(lines(&["--count", "2", "--deaggregate"]), 2);
    assert_eq!(lines(&["--no-follow"]), 5);
    served.stop(rustix::process::Signal::TERM);
}

#[test]
fn health_and_tail_speak_tls_to_a_server_whose_certificate_they_trust() {
    let dir = tempfile::tempdir().unwrap();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let (certificate, key) = (format!("{data}/localhost.cert.pem"), format!("{data}/localhost.key.pem"));
    std::fs::write(dir.path().join("streams.toml"), "[[streams]]\nname = \"clicks\"\n").unwrap();
    let args = ["serve", "--port", "0", "--in-memory", "--resources", "streams.toml"];
    let served =
        Served::start(command(dir.path(), &[&args[..], &["--tls-cert", &certificate, "--tls-key", &key]].concat()));
    let port = served.endpoint().rsplit_once(':').unwrap().1;
    let secure = format!("https://localhost:{port}");
    for trusted in [Some(&certificate), None] {
        let mut health = command(dir.path(), &["health", "--endpoint", &secure]);
        health.env_remove("AWS_CA_BUNDLE").envs(trusted.map(|path| ("AWS_CA_BUNDLE", path)));
        let health = health.output().unwrap();
        let told = text(&health.stderr);
        assert_eq!(health.status.code(), Some(i32::from(trusted.is_none())), "{told}");
        assert!(trusted.is_some() || told.contains("certificate"), "{told}");
    }
    let mut tail = command(dir.path(), &["tail", "clicks", "--from", "trim", "--no-follow", "--endpoint", &secure]);
    let tail = tail.env("AWS_CA_BUNDLE", &certificate).output().unwrap();
    assert_eq!((tail.status.code(), &*text(&tail.stdout)), (Some(0), ""), "{}", text(&tail.stderr));
    served.stop(rustix::process::Signal::TERM);
}

#[test]
fn beyond_loopback_it_listens_only_with_credentials_or_if_that_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["serve", "--host", "0.0.0.0", "--port", "0"][..], &["serve", "--port", "0", "--listen", "[::]:0"]] {
        let refused = run(dir.path(), args);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains("--allow-anonymous"), "{}", text(&refused.stderr));
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "no store was made");
    let args = ["serve", "--in-memory", "--host", "0.0.0.0", "--port", "0"];
    let mut anonymous = command(dir.path(), &args);
    anonymous.arg("--allow-anonymous");
    let served = Served::start(anonymous);
    assert!(served.endpoint().starts_with("http://127.0.0.1:"), "one that a client can use");
    assert_eq!(served.ask("POST /_braidlog/reset HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").status, 403);
    served.stop(rustix::process::Signal::TERM);
    let mut signed = command(dir.path(), &args);
    signed
        .env("BRAIDLOG_ACCESS_KEY_ID", "123456789012")
        .env("BRAIDLOG_SECRET_ACCESS_KEY", "canary-secret")
        .arg("--log=trace");
    let served = Served::start(signed);
    assert!(served.lines[1].contains("Authentication is on"), "{:?}", served.lines);
    let (_, log) = served.stop(rustix::process::Signal::TERM);
    assert!(!log.contains("canary"), "{log}");
}

#[test]
fn in_memory_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path(), &["serve", "--in-memory", "--port", "0"]);
    command.env("TMPDIR", dir.path());
    let served = Served::start(command);
    let folder = format!("braidlog-serve-{}-0", served.child.id());
    let places = [Path::new("/dev/shm").join(&folder), dir.path().join(&folder)];
    assert_eq!(places.iter().filter(|place| place.exists()).count(), 1);
    assert_eq!(served.stop(rustix::process::Signal::TERM).0, Some(0));
    assert!(!places.iter().any(|place| place.exists()));
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    let both = run(dir.path(), &["serve", "--in-memory", "--store", "x"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn resources_are_made_at_the_start_and_the_clock_is_a_tests() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resources.toml");
    std::fs::write(&file, "[[streams]]\nname = \"clicks\"\nshards = 3\nconsumers = [\"c\"]\n").unwrap();
    for _ in 0..2 {
        let args = ["serve", "--port", "0", "--resources", "resources.toml", "--test-clock", "--log", "off"];
        let served = Served::start(command(dir.path(), &args));
        let clock = "POST /_braidlog/clock HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\n{\"advance_ms\":50}";
        assert_eq!(served.ask(clock).status, 200);
        assert_eq!(served.stop(rustix::process::Signal::TERM), (Some(0), String::new()));
    }
    let list = run(dir.path(), &["stream", "list", "--json"]);
    assert_eq!(text(&list.stdout).matches("\"clicks\"").count(), 1, "{}", text(&list.stdout));
    std::fs::write(&file, "[[streams]]\n").unwrap();
    let refused = run(dir.path(), &["serve", "--port", "0", "--resources", "resources.toml"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("resources.toml") && text(&refused.stderr).contains("line 1"));
}

#[test]
fn statuses_pass_if_that_is_meant_and_what_the_resources_name_is_there_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("streams.toml"), "[[streams]]\nname = \"there\"\nconsumers = [\"c\"]\n").unwrap();
    let args = ["serve", "--in-memory", "--port", "0", "--transition-time", "1h", "--resources", "streams.toml"];
    let served = Served::start(command(dir.path(), &args));
    let call = |operation: &str, body: &str| {
        let length = body.len();
        let answer = served.ask(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        answer.body
    };
    call("CreateStream", r#"{"StreamName":"clicks","ShardCount":1}"#);
    let status = |name: &str| call("DescribeStreamSummary", &format!(r#"{{"StreamName":"{name}"}}"#));
    assert!(status("clicks").contains("\"CREATING\""), "{}", status("clicks"));
    assert!(status("there").contains("\"ACTIVE\""), "{}", status("there"));
    assert_eq!(served.ask("POST /_braidlog/reset HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").status, 200);
    call("CreateStream", r#"{"StreamName":"there","ShardCount":1}"#);
    assert!(status("there").contains("\"CREATING\""), "{}", status("there"));
    assert_eq!(served.stop(rustix::process::Signal::TERM).0, Some(0));
}

#[test]
fn logs_and_answers_are_json_for_programs() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["serve", "--in-memory", "--port", "0", "--json", "--log", "debug", "--log-format", "json"];
    let served = Served::start(command(dir.path(), &args));
    let first: serde_json::Value = serde_json::from_str(&served.lines[0]).unwrap();
    let address = first["listening"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = connect(address);
    stream.write_all(b"GET /health?signature=canary HTTP/1.1\r\nHost: a\r\nAuthorization: canary\r\n\r\n").unwrap();
    assert_eq!(Answer::read(&mut stream).unwrap().status, 200);
    let (_, log) = served.stop(rustix::process::Signal::TERM);
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let request = lines.iter().find(|line| line["message"] == "request").unwrap();
    assert_eq!((request["path"].as_str(), request["status"].as_u64()), (Some("/health"), Some(200)), "{request}");
    assert!(!log.contains("canary"), "{log}");
}

#[test]
fn env_prints_what_a_shell_evaluates() {
    let dir = tempfile::tempdir().unwrap();
    let printed = text(&run(dir.path(), &["env", "--endpoint", "http://127.0.0.1:9"]).stdout);
    assert!(printed.contains("export AWS_ENDPOINT_URL=http://127.0.0.1:9\n"), "{printed}");
    assert!(printed.contains("export AWS_REGION=us-east-1\n"), "{printed}");
    let told: serde_json::Value = serde_json::from_slice(&run(dir.path(), &["env", "--json"]).stdout).unwrap();
    assert_eq!(told["AWS_ENDPOINT_URL"], "http://127.0.0.1:4566");
}

#[test]
fn a_certificate_is_read_again_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let write = |certificate: &[u8], key: &[u8]| {
        std::fs::write(dir.path().join("cert.pem"), certificate).unwrap();
        std::fs::write(dir.path().join("key.pem"), key).unwrap();
    };
    write(tls::CERTIFICATE, tls::KEY);
    let args = ["serve", "--in-memory", "--port", "0", "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let mut served = Served::start(command(dir.path(), &args));
    let address = served.endpoint().strip_prefix("http://").unwrap().parse().unwrap();
    let log = served.child.stderr.take().unwrap();
    let mut log = BufReader::new(log).lines().map(Result::unwrap);
    let id = rustix::process::Pid::from_child(&served.child);
    let mut told_again = |what: &str| {
        rustix::process::kill_process(id, rustix::process::Signal::HUP).unwrap();
        assert!(log.any(|line| line.contains(what)), "{what}");
    };
    let connected = |certificate: &[u8]| tls::client_that_trusts(certificate, connect(address), "http/1.1");
    let ask = |mut stream: &mut dyn ReadWrite| {
        stream.write_all(get("/health").as_bytes())?;
        Answer::read(&mut stream).map(|answer| assert_eq!(answer.status, 200))
    };
    let mut before = connected(tls::CERTIFICATE);
    ask(&mut before).unwrap();
    write(tls::CERTIFICATE_2, tls::KEY_2);
    told_again("was read again");
    ask(&mut connected(tls::CERTIFICATE_2)).unwrap();
    assert!(ask(&mut connected(tls::CERTIFICATE)).is_err(), "new handshakes have the new one");
    ask(&mut before).expect("connections that were there stay");
    for (certificate, key) in [(tls::CERTIFICATE, tls::KEY_2), (&b"broken"[..], tls::KEY), (tls::CERTIFICATE, b"")] {
        write(certificate, key);
        told_again("the one before stays");
        ask(&mut connected(tls::CERTIFICATE_2)).unwrap();
    }
    ask(&mut before).unwrap();
    // Nobody reads the log any more, and that harms nobody.
    drop(log);
    ask(&mut before).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn no_secret_and_no_record_shows() {
    const CANARY: &str = "canary0canary0canary";
    let dir = tempfile::tempdir().unwrap();
    let record = format!(r#"{{"StreamName":"clicks","PartitionKey":"{CANARY}","Data":"{CANARY}"}}"#);
    let bad = [
        r#"{"StreamName":"clicks","PartitionKey":7,"Data":"canary0canary0canary"}"#,
        r#"{"StreamName":"clicks","PartitionKey":"a","Data":"canary0canary0canary!"}"#,
        r#"{"StreamName":"clicks","PartitionKey":"a","Data":["canary0canary0canary"]}"#,
        r#"{"StreamName":"nowhere","PartitionKey":"canary0canary0canary","Data":"canary0canary0canary"}"#,
        r#"{"StreamName":"clicks","PartitionKey":"a","Data":"canary0canary0canary"#,
        r#"["canary0canary0canary"]"#,
    ];
    for signed in [false, true] {
        let mut command = command(dir.path(), &["serve", "--in-memory", "--port", "0", "--log", "trace", "--audit"]);
        if signed {
            command.env("BRAIDLOG_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("BRAIDLOG_SECRET_ACCESS_KEY", CANARY);
        }
        let served = Served::start(command);
        let put = |body: &str| {
            let list = String::from_utf8(call(body.as_bytes())).unwrap();
            served.ask(&list.replace("ListStreams", "PutRecord"))
        };
        let create = String::from_utf8(call(br#"{"StreamName":"clicks","ShardCount":1}"#)).unwrap();
        served.ask(&create.replace("ListStreams", "CreateStream"));
        assert_eq!(put(&record).status == 200, !signed);
        let mut told: Vec<Answer> = bad.iter().map(|body| put(body)).collect();
        told.iter().for_each(|answer| assert!(answer.status >= 400, "{answer:?}"));
        told.push(served.ask(&get("/metrics")));
        if signed {
            // A good signature by the secret, as one of our own clients makes it.
            let mut tail =
                self::command(dir.path(), &["tail", "clicks", "--no-follow", "--endpoint", served.endpoint()]);
            tail.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", CANARY);
            let told = tail.output().unwrap();
            assert!(!text(&told.stderr).contains(CANARY), "{}", text(&told.stderr));
        }
        let (_, log) = served.stop(rustix::process::Signal::TERM);
        assert!(!log.contains(CANARY), "{log}");
        told.iter()
            .for_each(|answer| assert!(!answer.body.contains(CANARY) && !answer.head.contains(CANARY), "{answer:?}"));
    }
}

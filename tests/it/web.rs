//! Images and shards at addresses, with the real binary and servers on loopback.

use crate::server::{AUTHORITY, Answer, Server};
use crate::world::{
    CAT_BYTES as CAT, TREE_BYTES as TREE, classifier, gzip, records_of, stderr_of, tar_of, zstd,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The program, with short pauses between tries.
fn classify(inputs: &[&str]) -> Command {
    let mut command = classifier();
    command.env("CLIPCLASS_FIRST_PAUSE_MS", "1").env_remove("REQUEST_METHOD").arg("--json").args(inputs);
    command
}

/// Each record as `image: prediction` or `image: kind: message`.
#[track_caller]
fn told(output: &Output, code: i32) -> Vec<String> {
    assert_eq!(stderr_of(output, code), "");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let told = |record: Value| {
        let image = text(&record["image"]);
        match record.get("error") {
            Some(error) => format!("{image}: {}: {}", text(&error["kind"]), text(&error["message"])),
            None => format!("{image}: {}", text(&record["prediction"])),
        }
    };
    records_of(output, code).into_iter().map(told).collect()
}

#[track_caller]
fn run(inputs: &[&str], code: i32) -> Vec<String> {
    told(&classify(inputs).output().unwrap(), code)
}

/// The kind and message of the one failure.
#[track_caller]
fn failure(inputs: &[&str]) -> String {
    let told = run(inputs, 1);
    assert_eq!(told.len(), 1, "{told:?}");
    told[0].strip_prefix(&format!("{}: ", inputs[0])).unwrap().to_owned()
}

/// A server that gives these answers, one after the other, and the last from then on.
fn in_turn(answers: impl IntoIterator<Item = Answer>) -> Server {
    let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
    Server::start(move |_| {
        let mut answers = answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
    })
}

#[test]
fn an_image_at_an_address_is_classified_under_its_address() {
    let server = Server::start(|request| match request.target.as_str() {
        "/tree.jpg?size=full" => Answer::ok(TREE),
        "/image" => Answer::ok(CAT).without_length(),
        _ => Answer::new(404, "no such image"),
    });
    let addresses = [server.at("/tree.jpg?size=full"), server.at("/gone.jpg"), server.at("/image")];
    let [tree, gone, cat] = addresses.each_ref().map(String::as_str);
    let expected = [
        format!("{tree}: a tree"),
        format!("{gone}: download: the server answers with status 404 Not Found"),
        format!("{cat}: a cat"),
    ];
    assert_eq!(run(&[tree, gone, cat], 1), expected);
    // What is not there is asked for once.
    assert_eq!(server.targets().len(), 3);

    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    fs::write(&list, format!("{tree}\n{cat}\n")).unwrap();
    let told = run(&["--files-from", list.to_str().unwrap()], 0);
    assert_eq!(told, [&expected[0][..], &expected[2]]);
}

#[test]
fn what_an_address_may_not_hold_is_encoded_on_its_way() {
    let server = Server::start(|_| Answer::ok(TREE));
    let address = server.at("/a b<c>`d`/é.jpg?q=ü x#part");
    assert_eq!(run(&[&address], 0), [format!("{address}: a tree")]);
    assert_eq!(server.targets(), ["/a%20b%3Cc%3E%60d%60/%C3%A9.jpg?q=%C3%BC%20x"]);
}

#[cfg(unix)]
#[test]
fn bytes_of_an_address_that_are_no_text_reach_the_server() {
    use std::os::unix::ffi::OsStringExt;
    let server = Server::start(|_| Answer::ok(TREE));
    let address = [server.at("/caf").as_bytes(), b"\xe9.jpg"].concat();
    let output = classify(&[]).arg(std::ffi::OsString::from_vec(address)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.targets(), ["/caf%E9.jpg"]);
}

#[test]
fn redirects_are_followed_as_they_are_written() {
    let server = Server::start(|request| match request.target.as_str() {
        "/a/b/start" => Answer::redirect("../a b<`é`"),
        "/a/a%20b%3C%60%C3%A9%60" => Answer::redirect(b"/caf\xe9 ?x y"),
        "/caf%E9%20?x%20y" => Answer::ok(TREE),
        _ => Answer::new(404, ""),
    });
    let address = server.at("/a/b/start");
    assert_eq!(run(&[&address], 0), [format!("{address}: a tree")]);
}

#[test]
fn ten_redirects_are_followed_and_no_more() {
    let server = Server::start(|request| match request.target[1..].parse::<u32>().unwrap() {
        0 => Answer::ok(TREE),
        left => Answer::redirect(format!("/{}", left - 1)),
    });
    run(&[&server.at("/10")], 0);
    server.targets();
    assert_eq!(failure(&[&server.at("/11")]), "download: more than 10 redirects");
    assert_eq!(server.targets().len(), 11);
}

#[test]
fn a_redirect_that_leaves_the_web_is_refused() {
    let server = Server::start(|_| Answer::redirect("file:///etc/passwd"));
    let message = failure(&[&server.at("/")]);
    assert!(message.starts_with("download: a redirect leads to file:///etc/passwd"), "{message}");
}

#[test]
fn a_password_goes_to_its_own_host_only() {
    let other = Server::start(|_| Answer::ok(TREE));
    let elsewhere = other.at("/tree.jpg");
    let server = Server::start(move |request| match request.target.as_str() {
        "/a" => Answer::redirect("/b"),
        _ => Answer::redirect(elsewhere.as_str()),
    });
    let address = server.at("/a").replace("://", "://me:p%40ss@");
    run(&[&address], 0);
    // me:p@ss
    let sent = server
        .requests()
        .iter()
        .map(|request| request.header("authorization").map(str::to_owned))
        .collect::<Vec<_>>();
    assert_eq!(sent, [Some("Basic bWU6cEBzcw==".to_owned()), Some("Basic bWU6cEBzcw==".to_owned())]);
    assert_eq!(other.requests()[0].header("authorization"), None);
}

#[test]
fn what_may_pass_is_tried_again() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let server = in_turn([Answer::passing(status), Answer::ok(TREE)]);
        run(&[&server.at("/tree.jpg")], 0);
        assert_eq!(server.targets().len(), 2, "{status}");
    }
    let server =
        in_turn([Answer::dropped(), Answer::ok(TREE).cut(100), Answer::new(503, ""), Answer::ok(TREE)]);
    run(&[&server.at("/tree.jpg")], 0);
    assert_eq!(server.targets().len(), 4);
}

#[test]
fn what_does_not_pass_is_given_up_and_told_so() {
    let server = in_turn([Answer::passing(503)]);
    let message = failure(&[&server.at("/tree.jpg")]);
    assert_eq!(message, "download: the server answers with status 503 Service Unavailable (after 4 tries)");
    assert_eq!(server.targets().len(), 4);
    for status in [400, 401, 403, 404, 410, 501] {
        let server = in_turn([Answer::passing(status)]);
        let message = failure(&[&server.at("/tree.jpg")]);
        assert!(message.contains(&status.to_string()) && !message.contains("tries"), "{message}");
        assert_eq!(server.targets().len(), 1, "{status}");
    }
}

#[test]
fn an_image_that_is_cut_off_is_not_taken_for_whole() {
    let server = in_turn([Answer::ok(TREE).cut(100)]);
    let message = failure(&[&server.at("/tree.jpg")]);
    let expected =
        format!("download: the connection broke off: after 100 of {} bytes (after 4 tries)", TREE.len());
    assert_eq!(message, expected);
    let packed = gzip(TREE);
    let half = packed.len() / 2;
    let server = in_turn([Answer::ok(&packed[..half]).header("Content-Encoding", "gzip")]);
    let message = failure(&[&server.at("/tree.jpg")]);
    assert!(message.starts_with("download: the connection broke off: "), "{message}");
}

#[test]
fn a_host_that_never_was_there_is_not_waited_for() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = failure(&[&format!("http://{closed}/tree.jpg")]);
    assert!(message.starts_with(&format!("download: cannot reach {closed}: ")), "{message}");
    assert!(!message.contains("tries"), "{message}");
}

#[test]
fn content_that_was_packed_for_the_way_is_unpacked() {
    for coding in ["gzip", "x-gzip", "GZIP", "identity, gzip"] {
        let server = Server::start(move |_| Answer::ok(gzip(TREE)).header("Content-Encoding", coding));
        run(&[&server.at("/tree.jpg")], 0);
        let requests = server.requests();
        let accepted = requests[0].header("accept-encoding").unwrap();
        assert!(accepted.contains("gzip") && !accepted.contains("br"), "{accepted}");
    }
}

#[test]
fn content_that_is_packed_in_another_way_is_refused_by_its_name() {
    for (coding, named) in [("br", "br"), ("zstd", "zstd"), ("gzip, br", "br")] {
        let server = Server::start(move |_| Answer::ok(TREE).header("Content-Encoding", coding));
        let message = failure(&[&server.at("/tree.jpg")]);
        assert!(message.starts_with(&format!("download: its content is encoded as {named},")), "{message}");
    }
    let server = Server::start(|_| Answer::ok(TREE).header("Content-Encoding", "gzip"));
    let message = failure(&[&server.at("/tree.jpg")]);
    assert!(message.starts_with("download: its content cannot be unpacked"), "{message}");
}

#[test]
fn a_shard_at_an_address_is_read_as_it_passes() {
    let shard = tar_of([("1.jpg", TREE), ("1.txt", &b"a tree"[..]), ("2.png", CAT)]);
    for (path, bytes) in [
        ("/x.tar", shard.clone()),
        ("/x.TAR.GZ?sig=a/b", gzip(&shard)),
        ("/x.tgz", gzip(&shard)),
        ("/x.tar.zst", zstd(&shard)),
        ("/download?id=5#x.tar", shard.clone()),
    ] {
        let server = Server::start(move |_| Answer::ok(bytes.as_slice()));
        let address = server.at(path);
        let expected = [format!("{address}/1.jpg: a tree"), format!("{address}/2.png: a cat")];
        assert_eq!(run(&[&address], 0), expected);
        assert_eq!(server.targets().len(), 1);
    }
    let server = Server::start(move |_| Answer::ok(gzip(&shard)).header("Content-Encoding", "gzip"));
    assert_eq!(run(&[&server.at("/x.tar.gz")], 0).len(), 2);
}

#[test]
fn a_part_of_a_shard_at_an_address_is_its_own_images() {
    let shard = tar_of([("1.jpg", TREE), ("2.png", CAT)]);
    let server = Server::start(move |_| Answer::ok(shard.as_slice()));
    let address = server.at("/x.tar");
    assert_eq!(run(&[&address, "--part", "2/2"], 0), [format!("{address}/2.png: a cat")]);
}

#[test]
fn a_shard_that_cannot_be_fetched_is_one_failure() {
    let server = in_turn([Answer::passing(503)]);
    let message = failure(&[&server.at("/x.tar")]);
    assert!(message.starts_with("download: ") && message.contains("after 4 tries"), "{message}");
    let server = Server::start(|_| Answer::ok(TREE));
    assert!(failure(&[&server.at("/x.tar")]).starts_with("archive: not a tar archive"));
    let server = Server::start(|_| Answer::ok(tar_of([("1.jpg", TREE)])));
    let message = failure(&[&server.at("/shard")]);
    assert!(message.starts_with("archive: it is a tar archive") && message.contains("#.tar"), "{message}");
}

#[test]
fn a_shard_that_breaks_off_gives_what_came_and_says_so() {
    let shard = tar_of([("1.jpg", TREE), ("2.png", CAT)]);
    let cut = 512 + TREE.len().next_multiple_of(512) + 512 + 10;
    let server = in_turn([Answer::ok(shard).cut(cut)]);
    let address = server.at("/x.tar");
    let told = run(&[&address], 1);
    assert_eq!(told[0], format!("{address}/1.jpg: a tree"));
    assert_eq!(told.len(), 3, "{told:?}");
    for (told, name) in told[1..].iter().zip(["/2.png", ""]) {
        assert!(told.starts_with(&format!("{address}{name}: archive: ")), "{told}");
        assert!(told.contains("the connection broke off"), "{told}");
    }
}

#[test]
fn a_shard_that_breaks_off_goes_on_where_the_server_can() {
    let shard = tar_of([("1.jpg", TREE), ("2.png", CAT)]);
    let whole = shard.len();
    let changes = Arc::new(AtomicBool::new(false));
    let server = {
        let changes = changes.clone();
        Server::start(move |request| match (request.header("range"), request.header("if-range")) {
            (None, None) => Answer::ok(shard.as_slice()).header("ETag", "\"1\"").cut(1000),
            (Some("bytes=1000-"), Some("\"1\"")) if changes.load(Ordering::Relaxed) => {
                Answer::ok(shard.as_slice()).header("ETag", "\"2\"")
            }
            (Some("bytes=1000-"), Some("\"1\"")) => Answer::new(206, &shard[1000..])
                .header("Content-Range", format!("bytes 1000-{}/{whole}", whole - 1)),
            other => panic!("{other:?}"),
        })
    };
    let address = server.at("/x.tar");
    assert_eq!(run(&[&address], 0), [format!("{address}/1.jpg: a tree"), format!("{address}/2.png: a cat")]);
    assert_eq!(server.targets().len(), 2);
    // Another content is not taken for the rest of this one.
    changes.store(true, Ordering::Relaxed);
    let told = run(&[&address], 1);
    assert!(told.iter().all(|told| told.contains(": archive: ")), "{told:?}");
    assert_eq!(server.targets().len(), 2);
}

#[test]
fn a_data_address_is_the_image_it_holds() {
    use std::fmt::Write;
    let percent = TREE.iter().fold(String::from("data:image/jpeg,"), |mut address, byte| {
        write!(address, "%{byte:02x}").unwrap();
        address
    });
    assert_eq!(run(&[&percent], 0), [format!("{percent}: a tree")]);
    let base64 = format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(TREE));
    assert_eq!(run(&[&base64], 0), [format!("{base64}: a tree")]);
    assert!(failure(&["data:image/png;base64,"]).starts_with("empty: "));
    assert!(failure(&["data:image/png;base64"]).starts_with("download: "));
}

#[cfg(unix)]
#[test]
fn a_file_address_is_the_path_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("é 1.jpg"), TREE).unwrap();
    fs::write(path.join("2.tar"), tar_of([("2.png", CAT)])).unwrap();
    let at = |path: &str| format!("file://{}/a%20b{path}", folder.path().display());
    let tree = at("/%C3%A9%201.jpg");
    assert_eq!(run(&[&tree], 0), [format!("{tree}: a tree")]);
    let local = tree.replace("file://", "file://localhost");
    assert_eq!(run(&[&local], 0), [format!("{local}: a tree")]);
    let shard = at("/2.tar");
    assert_eq!(run(&[&shard], 0), [format!("{shard}/2.png: a cat")]);
    assert_eq!(run(&[&at("")], 0), [format!("{}/é 1.jpg: a tree", path.display())]);
    assert!(failure(&[&at("/gone.jpg")]).starts_with("not_found: "));
    assert!(failure(&["file://server/a.jpg"]).contains("on another machine"));
}

#[test]
fn an_address_that_is_not_read_is_refused_by_its_scheme() {
    for (address, scheme) in
        [("ftp://h/a.jpg", "ftp:"), ("s3://bucket/x.tar", "s3:"), ("gs://b/a.jpg", "gs:")]
    {
        let message = failure(&[address]);
        assert!(message.starts_with("download: ") && message.contains(scheme), "{message}");
        assert!(message.contains("https:") && !message.contains("no such file"), "{message}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("s3:")).unwrap();
    fs::write(folder.path().join("s3:/a.jpg"), TREE).unwrap();
    fs::write(folder.path().join("data:a.jpg"), TREE).unwrap();
    let output = classify(&["s3://a.jpg", "data:a.jpg"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(told(&output, 0), ["s3://a.jpg: a tree", "data:a.jpg: a tree"]);
}

#[test]
fn a_plain_address_is_asked_of_a_proxy_in_whole() {
    let proxy = Server::start(|request| match request.target.as_str() {
        "http://images.example/a%20b.jpg?q" => Answer::redirect("http://other.example:8080/tree.jpg"),
        "http://other.example:8080/tree.jpg" => Answer::ok(TREE),
        _ => Answer::new(400, ""),
    });
    for (variable, value) in [
        ("http_proxy", proxy.at("").replace("://", "://me:p%40ss@")),
        ("HTTP_PROXY", proxy.address().to_string()),
        ("ALL_PROXY", proxy.at("/")),
    ] {
        let address = "http://images.example/a b.jpg?q";
        let output = classify(&[address]).env(variable, value).output().unwrap();
        assert_eq!(told(&output, 0), [format!("{address}: a tree")]);
        let requests = proxy.requests();
        let hosts: Vec<_> = requests.iter().map(|request| request.header("host").unwrap()).collect();
        assert_eq!(hosts, ["images.example", "other.example:8080"]);
        for request in &requests {
            let sent = (variable == "http_proxy").then_some("Basic bWU6cEBzcw==");
            assert_eq!(request.header("proxy-authorization"), sent);
            assert_eq!((request.method.as_str(), request.header("authorization")), ("GET", None));
        }
    }
}

#[test]
fn a_proxy_is_passed_by_for_what_no_proxy_names() {
    let proxy = Server::start(|_| Answer::new(403, ""));
    let server = Server::start(|_| Answer::ok(TREE));
    let address = server.at("/tree.jpg");
    for exceptions in ["127.0.0.1", "localhost, 127.0.0.0/8", "*"] {
        let mut command = classify(&[&address]);
        let output = command.env("HTTP_PROXY", proxy.at("")).env("NO_PROXY", exceptions).output().unwrap();
        assert_eq!(told(&output, 0).len(), 1);
    }
    assert_eq!(proxy.targets(), [""; 0]);
    let output = classify(&[&address]).env("HTTP_PROXY", proxy.at("")).env("NO_PROXY", "h").output().unwrap();
    assert!(told(&output, 1)[0].contains("403"));
    assert_eq!(proxy.targets(), [address]);
}

#[test]
fn a_proxy_that_cannot_be_used_is_named() {
    let output = classify(&["http://images.example/"]).env("http_proxy", "gopher://h").output().unwrap();
    let told = told(&output, 1);
    assert!(told[0].contains("download: http_proxy is not the address of a proxy"), "{told:?}");
}

#[test]
fn a_secure_address_is_asked_through_a_tunnel() {
    let server = Server::start_tls(|_| Answer::ok(TREE));
    let to = server.address();
    let proxy = Server::start(move |request| match request.target.as_str() {
        "images.example:443" if request.method == "CONNECT" => Answer::tunnel(to),
        _ => Answer::new(403, ""),
    });
    let fetch = |address: &str| {
        let mut command = classify(&[address]);
        command.env("HTTPS_PROXY", proxy.at("")).env("SSL_CERT_FILE", AUTHORITY);
        command.output().unwrap()
    };
    assert_eq!(told(&fetch("https://images.example/tree.jpg"), 0).len(), 1);
    assert_eq!(server.targets(), ["/tree.jpg"]);
    let told = told(&fetch("https://other.example/"), 1);
    assert!(told[0].contains("the proxy makes no connection to other.example: "), "{told:?}");
    assert!(told[0].contains("403"), "{told:?}");
}

#[test]
fn a_server_is_trusted_by_the_certificates_that_the_environment_names() {
    let server = Server::start_tls(|_| Answer::ok(TREE));
    let address = format!("https://{}/tree.jpg", server.address());
    let with = |variable: &str, value: &Path| classify(&[&address]).env(variable, value).output().unwrap();
    assert_eq!(told(&with("SSL_CERT_FILE", Path::new(AUTHORITY)), 0).len(), 1);

    let folder = tempfile::tempdir().unwrap();
    fs::copy(AUTHORITY, folder.path().join("ca.pem")).unwrap();
    assert_eq!(told(&with("SSL_CERT_DIR", folder.path()), 0).len(), 1);

    let message = failure(&[&address]);
    assert!(message.starts_with("download: no secure connection to 127.0.0.1"), "{message}");
    assert!(message.contains("SSL_CERT_FILE"), "{message}");
    let told = told(&with("SSL_CERT_FILE", &folder.path().join("gone.pem")), 1);
    assert!(told[0].contains("cannot use SSL_CERT_FILE") && told[0].contains("gone.pem"), "{told:?}");
}

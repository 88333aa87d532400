//! A web server on the loopback interface, for tests.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// What the server answers for a path.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The file, with its length.
    Whole(Vec<u8>),
    /// The length of the file, but only its first half.
    Cut(Vec<u8>),
    /// The bytes over and over again, without a length.
    Endless(Vec<u8>),
    /// Another address.
    Redirect(String),
}

/// Serves until the test process ends; paths without an answer are 404. Gives the server's address.
pub fn serve(answers: BTreeMap<&'static str, Answer>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that hangs up is what some of the tests are about.
            let _ = answer(stream.unwrap(), &answers);
        }
    });
    address
}

fn answer(mut stream: TcpStream, answers: &BTreeMap<&'static str, Answer>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let head =
        |status: &str, rest: &str| format!("HTTP/1.1 {status}\r\nConnection: close\r\n{rest}\r\n");
    let length = |bytes: &[u8]| format!("Content-Length: {}\r\n", bytes.len());
    match answers.get(path) {
        None => {
            stream.write_all(head("404 Not Found", "Content-Length: 4\r\n").as_bytes())?;
            stream.write_all(b"gone")
        }
        Some(Answer::Whole(bytes)) => {
            stream.write_all(head("200 OK", &length(bytes)).as_bytes())?;
            stream.write_all(bytes)
        }
        Some(Answer::Cut(bytes)) => {
            stream.write_all(head("200 OK", &length(bytes)).as_bytes())?;
            stream.write_all(&bytes[..bytes.len() / 2])
        }
        Some(Answer::Endless(bytes)) => {
            stream.write_all(head("200 OK", "").as_bytes())?;
            loop {
                stream.write_all(bytes)?;
            }
        }
        Some(Answer::Redirect(to)) => {
            let rest = format!("Location: {to}\r\nContent-Length: 0\r\n");
            stream.write_all(head("302 Found", &rest).as_bytes())
        }
    }
}

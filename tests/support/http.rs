//! An HTTP server that answers as it is told, or does not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// How it answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status and a short body.
    Status(u16),
    /// With 302 and this place.
    Redirect(String),
    /// Not at all; the connection stays open.
    Nothing,
    /// With 200 and a body that does not end.
    EndlessBody,
    /// With a status line and headers that do not end.
    EndlessHeaders,
    /// With what is no HTTP.
    Garbage,
}

/// A server on a free port of 127.0.0.1.
pub struct Server {
    port: u16,
    asked: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// One that gives this answer to everybody.
    pub fn new(answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, stopping) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, told) = (Arc::clone(&asked), Arc::clone(&stopping));
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                count.fetch_add(1, Ordering::Relaxed);
                match answer {
                    Answer::Nothing => held.push(stream),
                    // Its thread ends when the other side closes.
                    _ => drop(std::thread::spawn({
                        let answer = answer.clone();
                        move || give(&answer, stream)
                    })),
                }
            }
        });
        Self { port, asked, stopping, thread: Some(thread) }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, as `scheme://127.0.0.1:PORT/`.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/", self.port)
    }

    /// How many connections have come.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn give(answer: &Answer, mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 8192]);
    let head = match answer {
        Answer::Status(status) => format!("HTTP/1.1 {status} So\r\nContent-Length: 3\r\n\r\nso\n"),
        Answer::Redirect(to) => format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"),
        Answer::EndlessBody => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        Answer::EndlessHeaders => "HTTP/1.1 200 OK\r\n".to_owned(),
        Answer::Garbage => "\u{1}\u{2} nothing that anybody understands\r\n\r\n".to_owned(),
        Answer::Nothing => String::new(),
    };
    let more: &[u8] = match answer {
        Answer::EndlessBody => &[b'x'; 4096],
        Answer::EndlessHeaders => b"X-More: and more\r\n",
        _ => &[],
    };
    let mut going = stream.write_all(head.as_bytes()).is_ok() && !more.is_empty();
    while going {
        going = stream.write_all(more).is_ok();
    }
}

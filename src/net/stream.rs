//! An address → its content as one stream, over as many connections as it takes.
//!
//! A shard takes hours to read, and seldom stays connected for that long. What broke off goes on from
//! where it was if the server has named this very content, by an `ETag` or a date, and can begin in
//! the middle; otherwise what comes could be another content, and the stream ends with an error.

use super::retry::Tries;
use super::{Address, Answer, Client, Content, ContentCoding, Fault, NetError, Request, StatusCode};
use std::io::{self, Read};
use std::sync::Arc;

/// The content of an address, from front to back.
#[derive(Debug)]
pub struct Stream {
    client: Arc<Client>,
    address: Address,
    content: Content,
    /// What names this very content, where the server can go on with it.
    validator: Option<String>,
    read_bytes: u64,
    tries: Tries,
}

impl Client {
    /// The content of an address, wherever redirects lead, as it comes.
    ///
    /// *Errors* also when the server refuses.
    pub fn stream(self: Arc<Self>, address: Address) -> Result<Stream, NetError> {
        let request = Request::whole(&address, ContentCoding::IdentityOrGzip);
        let answer = self.retried(self.tries(), || self.follow(&request))?;
        let validator = validator(&answer);
        let (content, tries) = (answer.content, self.tries());
        Ok(Stream { client: self, address, content, validator, read_bytes: 0, tries })
    }
}

impl Stream {
    /// Connects anew, to what has not come yet.
    fn go_on(&self, validator: &str) -> Result<Content, Fault> {
        let request = Request {
            from_byte: self.read_bytes,
            if_still: Some(validator),
            ..Request::whole(&self.address, ContentCoding::Identity)
        };
        let answer = self.client.follow(&request).map_err(|trouble| trouble.fault)?;
        let goes_on =
            answer.status == StatusCode::PARTIAL_CONTENT && answer.range_start() == Some(self.read_bytes);
        if goes_on { Ok(answer.content) } else { Err(Fault::Status(answer.status)) }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let failure = |fault, tries: &Tries| io::Error::other(NetError { fault, tries: tries.made() });
        loop {
            let fault = match self.content.read_some(buffer) {
                Ok(count) => {
                    self.read_bytes += count as u64;
                    if count > 0 {
                        self.tries.succeed_in_part();
                    }
                    return Ok(count);
                }
                Err(fault) => fault,
            };
            let Some(validator) = self.validator.clone() else { return Err(failure(fault, &self.tries)) };
            // The first fault is told, and not what came of going on.
            let mut passes = self.client.is_passing(&fault);
            loop {
                if !passes || !self.tries.again(None) {
                    return Err(failure(fault, &self.tries));
                }
                match self.go_on(&validator) {
                    Ok(content) => {
                        self.content = content;
                        break;
                    }
                    Err(next) => passes = self.client.is_passing(&next),
                }
            }
        }
    }
}

/// What an `If-Range` can hold: a strong `ETag`, or else the date of the last change.
fn validator(answer: &Answer) -> Option<String> {
    // Bytes of what was packed for the way cannot be counted.
    answer.content.length_bytes()?;
    let etag = answer.header("etag").filter(|etag| etag.starts_with('"'));
    etag.or(answer.header("last-modified")).map(str::to_owned)
}

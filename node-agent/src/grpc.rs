//! Connections on which gRPC is served. They are of one type, whatever they are made of: all that serves one is compiled anew for
//! each type of them, and that was a megabyte of the program.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

/// How long a connection may take to begin, and the bytes with which HTTP/2 does.
const PREFACE_BYTES: usize = 24;
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// A connection, and its place among those that there may be, which it gives back when it ends.
pub(crate) struct Served {
    stream: Pin<Box<dyn Stream>>,
    /// Until it has said how HTTP/2 begins: HTTP/2 itself waits for that for ever.
    beginning: Option<(Pin<Box<Sleep>>, usize)>,
    _place: Option<OwnedSemaphorePermit>,
    /// Dropped when it ends.
    _ended: Option<oneshot::Sender<Infallible>>,
}

impl Served {
    pub(crate) fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Served {
        Served {
            stream: Box::pin(stream),
            beginning: Some((Box::pin(sleep(FIRST_TIMEOUT)), PREFACE_BYTES)),
            _place: None,
            _ended: None,
        }
    }

    /// One whose other end may begin when it likes, and what tells when it has ended.
    pub(crate) fn patient(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
    ) -> (Served, oneshot::Receiver<Infallible>) {
        let (sender, ended) = oneshot::channel();
        (Served { beginning: None, _ended: Some(sender), ..Served::new(stream) }, ended)
    }

    pub(crate) fn at(self, place: OwnedSemaphorePermit) -> Served {
        Served { _place: Some(place), ..self }
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").finish_non_exhaustive()
    }
}

impl Connected for Served {
    /// Who is served is told by where the connection came in, not by what it says.
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Served {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.stream.as_mut().poll_read(cx, buf);
        let said = buf.filled().len() - before;
        if let Some((patience, awaited)) = &mut self.beginning {
            *awaited = awaited.saturating_sub(said);
            if *awaited == 0 {
                self.beginning = None;
            } else if read.is_pending() && patience.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Served {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_begin_is_given_up_and_who_pauses_later_is_not() {
        let (_silent, theirs) = duplex(16);
        let error = Served::new(theirs).read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let (mut hesitant, theirs) = duplex(64);
        hesitant.write_all(&[1; PREFACE_BYTES - 1]).await.unwrap();
        let mut served = Served::new(theirs);
        served.read_exact(&mut [0; PREFACE_BYTES - 1]).await.unwrap();
        assert_eq!(served.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut ours, theirs) = duplex(64);
        let mut served = Served::new(theirs);
        ours.write_all(&[1; PREFACE_BYTES]).await.unwrap();
        served.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        let later = async {
            sleep(10 * FIRST_TIMEOUT).await;
            ours.write_u8(2).await.unwrap();
        };
        assert_eq!(tokio::join!(later, served.read_u8()).1.unwrap(), 2);
    }
}

//! Makes the kubelet understood, whose requests to register a driver no HTTP/2 library of Rust takes.
//!
//! It names the path of the socket as their `:authority`, with each `/` as `%2F`, as gRPC for Go does with what it takes for a
//! host's name. RFC 3986 allows that; the crate `http` does not, and the crate `h2` breaks the stream with `PROTOCOL_ERROR`. So what
//! comes passes through here, and every request gets the authority `localhost`. What goes back is not touched.

use std::io;

use loona_hpack::{Decoder, Encoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a client sends first: RFC 9113, 3.4.
const PREFACE_LEN: usize = 24;
const HEADER_LEN: usize = 9;
/// Longest frame that a server takes which has not said otherwise.
const FRAME_LEN_MAX: usize = 1 << 14;
/// Longest block of headers that is taken, over all of its frames.
const BLOCK_LEN_MAX: usize = 1 << 16;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

struct Frame {
    kind: u8,
    flags: u8,
    stream: [u8; 4],
    payload: Vec<u8>,
}

/// Passes on what a client sends, with another authority in each request, until it sends no more.
///
/// # Errors
/// It sends what is no HTTP/2, or either side is gone.
pub(super) async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut preface = [0; PREFACE_LEN];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    let (mut decoder, mut encoder) = (Decoder::new(), Encoder::new());
    while let Some(frame) = read(&mut from).await? {
        let frame = match frame.kind {
            HEADERS => with_authority(whole(frame, &mut from).await?, &mut decoder, &mut encoder)?,
            _ => frame,
        };
        write(&mut to, &frame).await?;
    }
    to.shutdown().await
}

/// None at the end.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut header = [0; HEADER_LEN];
    match from.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    };
    let [a, b, c, kind, flags, stream @ ..] = header;
    let len = u32::from_be_bytes([0, a, b, c]) as usize;
    if len > FRAME_LEN_MAX {
        return Err(invalid("a frame is too long"));
    }
    let mut payload = vec![0; len];
    from.read_exact(&mut payload).await?;
    Ok(Some(Frame { kind, flags, stream, payload }))
}

async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let [_, a, b, c] = (frame.payload.len() as u32).to_be_bytes();
    let [d, e, f, g] = frame.stream;
    to.write_all(&[a, b, c, frame.kind, frame.flags, d, e, f, g]).await?;
    to.write_all(&frame.payload).await
}

/// A block of headers in one frame, without padding and priority.
async fn whole(first: Frame, from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let Frame { kind, flags, stream, mut payload } = first;
    if flags & PADDED != 0 {
        let padding = *payload.first().ok_or_else(|| invalid("a frame is too short"))?;
        let end = payload.len().checked_sub(usize::from(padding));
        payload = end
            .and_then(|end| payload.get(1..end))
            .ok_or_else(|| invalid("a frame is all padding"))?
            .to_vec();
    }
    if flags & PRIORITY != 0 {
        payload = payload.get(5..).ok_or_else(|| invalid("a frame is too short"))?.to_vec();
    }
    let mut last = flags;
    while last & END_HEADERS == 0 {
        let next = read(from).await?.ok_or_else(|| invalid("the headers of a request do not end"))?;
        if next.kind != CONTINUATION || next.stream != stream {
            return Err(invalid("the headers of a request do not go on"));
        }
        if payload.len() + next.payload.len() > BLOCK_LEN_MAX {
            return Err(invalid("the headers of a request are too long"));
        }
        payload.extend(next.payload);
        last = next.flags;
    }
    Ok(Frame { kind, flags: flags & END_STREAM | END_HEADERS, stream, payload })
}

fn with_authority(frame: Frame, decoder: &mut Decoder<'_>, encoder: &mut Encoder<'_>) -> io::Result<Frame> {
    let mut headers = decoder
        .decode(&frame.payload)
        .map_err(|error| invalid(&format!("headers of a request: {error:?}")))?;
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == b":authority") {
        *value = b"localhost".to_vec();
    }
    let payload = encoder.encode(headers.iter().map(|(name, value)| (&name[..], &value[..])));
    if payload.len() > FRAME_LEN_MAX {
        return Err(invalid("the headers of a request are too long"));
    }
    Ok(Frame { payload, ..frame })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &[u8] = b"%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fpagemesh-0.sock";
    const STREAM: [u8; 4] = [0, 0, 0, 1];

    fn request() -> Vec<(&'static [u8], &'static [u8])> {
        vec![(b":method", b"POST"), (b":authority", AUTHORITY), (b"te", b"trailers")]
    }

    async fn bytes(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = vec![b'P'; PREFACE_LEN];
        for frame in frames {
            write(&mut bytes, frame).await.unwrap();
        }
        bytes
    }

    fn headers(flags: u8, payload: &[u8]) -> Frame {
        Frame { kind: HEADERS, flags, stream: STREAM, payload: payload.to_vec() }
    }

    async fn passed(frames: &[Frame]) -> io::Result<Vec<Frame>> {
        let mut out = Vec::new();
        pass(&bytes(frames).await[..], &mut out).await?;
        let mut rest = &out[PREFACE_LEN..];
        let mut frames = Vec::new();
        while let Some(frame) = read(&mut rest).await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[tokio::test]
    async fn each_request_gets_another_authority_and_nothing_else_changes() {
        let mut encoder = Encoder::new();
        // The second refers to what the first has put into the table.
        let (first, second) = (encoder.encode(request()), encoder.encode(request()));
        let (begin, end) = first.split_at(7);
        let continuation =
            Frame { kind: CONTINUATION, flags: END_HEADERS, stream: STREAM, payload: end.into() };
        let data = Frame { kind: 0, flags: END_STREAM, stream: STREAM, payload: b"body".to_vec() };
        let padded = [&[3, 0, 0, 0, 0, 9][..], &second, &[0; 3]].concat();
        let sent = [
            headers(0, begin),
            continuation,
            data,
            headers(END_HEADERS | END_STREAM | PADDED | PRIORITY, &padded),
        ];
        let frames = passed(&sent).await.unwrap();
        assert_eq!(
            frames.iter().map(|frame| (frame.kind, frame.flags)).collect::<Vec<_>>(),
            [(HEADERS, END_HEADERS), (0, END_STREAM), (HEADERS, END_HEADERS | END_STREAM),]
        );
        assert_eq!(frames[1].payload, b"body");
        let mut decoder = Decoder::new();
        for frame in [&frames[0], &frames[2]] {
            let headers = decoder.decode(&frame.payload).unwrap();
            let expected: Vec<(Vec<u8>, Vec<u8>)> = request()
                .into_iter()
                .map(|(name, value)| {
                    (name.to_vec(), if value == AUTHORITY { b"localhost".to_vec() } else { value.to_vec() })
                })
                .collect();
            assert_eq!(headers, expected);
        }
    }

    #[tokio::test]
    async fn what_is_no_http_2_ends_the_connection() {
        let no_continuation = [headers(0, b""), headers(END_HEADERS, b"")];
        assert!(passed(&no_continuation).await.is_err());
        assert!(passed(&[headers(0, b"")]).await.is_err());
        assert!(passed(&[headers(END_HEADERS | PADDED, &[9, 0])]).await.is_err());
        assert!(passed(&[headers(END_HEADERS | PRIORITY, &[0; 4])]).await.is_err());
        assert!(passed(&[headers(END_HEADERS, &[0xff; 8])]).await.is_err());
        let long = Frame { kind: 0, flags: 0, stream: STREAM, payload: vec![0; FRAME_LEN_MAX + 1] };
        assert!(passed(&[long]).await.is_err());
    }
}

//! The side that is dialled.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{HANDSHAKE_TIMEOUT, Shared};
use crate::peer::handshake::{HANDSHAKE_LEN, HandshakeError, Packet, REASON_LEN_MAX};

/// Connections that may be in their handshake at one time.
const HANDSHAKES_MAX: usize = 64;

/// How long to leave the kernel alone when it has no descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        // Whoever comes when all places are taken waits in the kernel's queue.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, answer(stream, from, &shared)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%from, %error, "a handshake broke off"),
                Err(_elapsed) => tracing::debug!(%from, "a handshake took too long"),
            }
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream, from: SocketAddr, shared: &Shared) -> io::Result<()> {
    let mut bytes = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut bytes).await?;
    let admitted = match Packet::decode(&bytes) {
        Ok(Packet::Hello(hello)) => shared.admits(&hello).map(|()| hello),
        Ok(Packet::Refusal(_)) => Err(HandshakeError::Malformed),
        Err(error) => Err(error),
    };
    match admitted {
        Ok(hello) => {
            let reply = Packet::Hello(shared.identity.hello(hello.from, hello.shard, hello.number));
            stream.write_all(&reply.encode(shared.identity.me)).await?;
            shared.hand_over(stream, &hello)
        }
        Err(reason) => {
            // The other side logs it, and tries again: a warning each time would drown everything else here.
            tracing::debug!(%from, %reason, "refused a connection");
            refuse(stream, &reason, shared).await
        }
    }
}

async fn refuse(mut stream: TcpStream, reason: &HandshakeError, shared: &Shared) -> io::Result<()> {
    let mut text = reason.to_string().into_bytes();
    text.truncate(REASON_LEN_MAX);
    let packet = Packet::Refusal(text.len()).encode(shared.identity.me);
    stream.write_all(&packet).await?;
    stream.write_all(&text).await?;
    stream.shutdown().await
}

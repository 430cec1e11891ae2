//! A TCP proxy between two agents, which can break every connection through it at any moment: whatever is in its
//! buffers or the kernel's is lost, as on a real network.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub struct Proxy {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub fn start(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("it is bound");
        let open = Arc::new(Mutex::new(Vec::new()));
        let connections = open.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let _ = join(client, to, &connections);
            }
        });
        Proxy { address, open }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks all connections. Returns how many there were.
    pub fn cut(&self) -> usize {
        let mut open = self.open.lock().expect("nobody panics with it");
        let pairs = open.len() / 2;
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        pairs
    }
}

fn join(client: TcpStream, to: SocketAddr, open: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    open.lock().expect("nobody panics with it").extend([client.try_clone()?, server.try_clone()?]);
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

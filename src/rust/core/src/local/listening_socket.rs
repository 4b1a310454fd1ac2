//! The sockets on which this process listens.

use std::os::fd::AsFd;

use socket2::SockRef;

/// Has all that is written to the connections of a TCP socket that listens be sent at once: they have the option from it
/// (`tcp(7)`, `TCP_NODELAY`). `false`, and nothing is done, for any other file.
///
/// A server that writes the head and the body of an answer one after the other waits between them for the client to say that
/// it has the head, and clients say so only after 40 ms, unless they have more to say (Nagle's algorithm, RFC 896, and
/// delayed acknowledgements, RFC 1122, 4.2.3.2).
pub fn send_at_once(file: &impl AsFd) -> bool {
    let socket = SockRef::from(file);
    let is_tcp = socket.local_addr().is_ok_and(|address| address.as_socket().is_some());
    is_tcp && socket.is_listener().unwrap_or(false) && socket.set_tcp_nodelay(true).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn connections_of_a_socket_that_listens_send_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = || {
            let client = TcpStream::connect(address).unwrap();
            (listener.accept().unwrap().0, client)
        };
        assert!(!accepted().0.nodelay().unwrap());
        assert!(send_at_once(&listener));
        assert!(accepted().0.nodelay().unwrap());
    }

    #[test]
    fn other_files_are_left_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!send_at_once(&client) && !client.nodelay().unwrap());
        assert!(!send_at_once(&UdpSocket::bind("127.0.0.1:0").unwrap()));
        assert!(!send_at_once(&UnixStream::pair().unwrap().0));
        assert!(!send_at_once(&std::fs::File::open("/dev/null").unwrap()));
    }
}

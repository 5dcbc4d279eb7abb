//! Echo with tokio: one task per connection, all on the thread of the program.

use std::{env, io, net::SocketAddr, process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const BUFFER_BYTES: usize = 16 * 1024;
const BACKLOG: u32 = 4096;
const USAGE: i32 = 64; // exit statuses, as in sysexits.h
const UNAVAILABLE: i32 = 69;

fn fail(status: i32, line: String) -> ! {
    eprintln!("{line}");
    process::exit(status)
}

fn port() -> u16 {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let port = match &arguments[..] {
        [port] => port.parse().unwrap_or(0),
        _ => 0,
    };
    if port == 0 {
        let line = "usage: tokio_echo PORT    (echoes on 127.0.0.1:PORT; PORT is 1 to 65535)";
        fail(USAGE, line.to_string());
    }
    port
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn echo(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut bytes = vec![0; BUFFER_BYTES];
    loop {
        let received = connection.read(&mut bytes).await?;
        if received == 0 {
            return Ok(()); // the client has finished
        }
        connection.write_all(&bytes[..received]).await?;
    }
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = listen(address)?;
    loop {
        let (connection, _) = listener.accept().await?;
        tokio::spawn(echo(connection));
    }
}

fn main() {
    let address = SocketAddr::from(([127, 0, 0, 1], port()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let ended = runtime.and_then(|runtime| runtime.block_on(serve(address)));
    if let Err(error) = ended {
        let taken = error.kind() == io::ErrorKind::AddrInUse;
        let hint = if taken { " (another server runs there)" } else { "" };
        fail(UNAVAILABLE, format!("tokio_echo: {address}: {error}{hint}"));
    }
}

//! One thread that waits for everything at once: signals, standard input, new clients, and those that are connected.
//!
//! It knows neither the protocol nor what a line is. The invariant it owns: each of those who are ready has one short
//! turn, then all are asked again, so that nobody waits for more than one turn of each other.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use kstore::Log;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use crate::client::Client;
use crate::complain;
use crate::input::Input;

/// Who comes when so many are connected waits until one of them leaves.
const MAX_CLIENTS: usize = 512;
/// After a client could not be accepted, as where descriptors have run out, the next attempt comes no later than this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Server<'a> {
    log: &'a Log,
    signals: SignalFd,
    input: Input,
    listener: TcpListener,
    /// Whether the last attempt to accept a client failed, for a reason that is not the client's.
    accept_failed: bool,
    clients: Vec<Client>,
}

/// Who is ready after a wait.
struct Ready {
    stop: bool,
    input: bool,
    listener: bool,
    /// In the order of the clients.
    clients: Vec<bool>,
}

impl<'a> Server<'a> {
    pub(crate) fn listen(log: &'a Log, address: SocketAddr, signals: SignalFd) -> Result<Server<'a>, Box<dyn Error>> {
        let listener = TcpListener::bind(address).map_err(|error| format!("listening on {address}: {error}"))?;
        // Who knocked may be gone by the time of the `accept`, which then must not wait for the next one.
        listener.set_nonblocking(true)?;
        Ok(Server { log, signals, input: Input::new()?, listener, accept_failed: false, clients: Vec::new() })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until a signal or the end of standard input.
    pub(crate) fn run(&mut self) -> Result<(), Box<dyn Error>> {
        loop {
            let ready = self.wait()?;
            if ready.stop {
                return Ok(());
            }
            if ready.input && !self.input.append_to(self.log)? {
                return Ok(());
            }
            let reader = self.log.reader();
            let mut ready_clients = ready.clients.into_iter();
            self.clients.retain_mut(|client| !ready_clients.next().unwrap_or(false) || client.take_turn(&reader));
            if ready.listener {
                self.accept();
            }
        }
    }

    fn wait(&mut self) -> nix::Result<Ready> {
        let accepting = self.clients.len() < MAX_CLIENTS && !self.accept_failed;
        let timeout = match self.accept_failed {
            true => PollTimeout::try_from(ACCEPT_PAUSE).unwrap_or(PollTimeout::MAX),
            false => PollTimeout::NONE,
        };
        let listener_wants = if accepting { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut waited = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.input.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), listener_wants),
        ];
        waited.extend(self.clients.iter().map(|client| PollFd::new(client.as_fd(), client.waits_for())));
        match poll(&mut waited, timeout) {
            // A signal that is not ours, as when the program is continued in a shell.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        // Either what was waited for, or an error or an end, which whoever has its turn then finds.
        let mut ready = waited.iter().map(|waited| waited.any().unwrap_or(true));
        let mut next = || ready.next().unwrap_or(false);
        let (stop, input, listener) = (next(), next(), next());
        self.accept_failed = false;
        Ok(Ready { stop, input, listener, clients: ready.collect() })
    }

    fn accept(&mut self) {
        match self.listener.accept().and_then(|(socket, _)| Client::new(socket)) {
            Ok(client) => self.clients.push(client),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                _ => {
                    complain(format_args!("accepting a client: {error}"));
                    self.accept_failed = true;
                }
            },
        }
    }
}

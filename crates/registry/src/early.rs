//! An answer that comes before all of the request was sent.
//!
//! A registry that does not want an upload answers in the middle of it and closes the connection: what is sent on then
//! fails, and the answer, which says why, lies unread in our socket. [RFC 9112, 9.5] So a connection that takes no more
//! takes all the rest in silence, and the answer is read. When there is none, the failure is told in its place.
//!
//! This sits right above the socket, below TLS, whose state would not survive a failed write.

use std::cell::Cell;
use std::io::ErrorKind;
use std::time::Duration;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// What is waited for an answer after a failure: who closed a connection has written all that he had to say.
const WAIT: Duration = Duration::from_secs(1);

thread_local! {
    /// The request that this thread sends is not taken any more. A request is sent by one thread, from start to end.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// Begins another request.
pub(crate) fn begin() {
    REFUSED.set(false);
}

/// True when nobody reads what is sent: it need not be read from the disk.
pub(crate) fn is_refused() -> bool {
    REFUSED.get()
}

/// Puts it on top of the connections that are made.
#[derive(Debug, Default)]
pub(crate) struct EarlyConnector;

impl<In: Transport> Connector<In> for EarlyConnector {
    type Out = Early<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, below: Option<In>) -> Result<Option<Early<In>>, ureq::Error> {
        Ok(below.map(|below| Early { below, failure: None, is_closed: false }))
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Early<T> {
    below: T,
    /// Why nothing can be sent any more; until it is told.
    failure: Option<ureq::Error>,
    is_closed: bool,
}

impl<T: Transport> Transport for Early<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.below.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.is_closed {
            return Ok(());
        }
        match self.below.transmit_output(amount, timeout) {
            Err(error) if is_end(&error) => {
                (self.failure, self.is_closed) = (Some(error), true);
                REFUSED.set(true);
                Ok(())
            }
            done => done,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if !self.is_closed {
            return self.below.await_input(timeout);
        }
        match self.below.await_input(NextTimeout { per_read: Some(WAIT.into()), ..timeout }) {
            Ok(true) => Ok(true),
            nothing => self.failure.take().map_or(nothing, Err),
        }
    }

    fn is_open(&mut self) -> bool {
        !self.is_closed && self.below.is_open()
    }

    fn is_tls(&self) -> bool {
        self.below.is_tls()
    }
}

/// True when the other side has closed, or reads nothing.
fn is_end(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => {
            matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
        }
        ureq::Error::Timeout(_) => true,
        _ => false,
    }
}

//! Drives one device's session over any transport: frames in, lines out, mail in between.
//!
//! `GET /v1/live` and the simulator use [`drive`]; `POST /v1/sync` uses [`exchange`]. Both register for live changes
//! before the log is read, so that nothing falls between the two.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use omctl_protocol::Up;
use omctl_protocol::frame::Hello;

use crate::identity::Principal;
use crate::limits;
use crate::push::{Frame, Mail, Mailbox, Push};
use crate::sync::{Session, SessionEnd, Step, Sync, SyncError};

/// One message to a device.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// A line of this session alone.
    Line(Bytes),
    /// A frame that many sessions share.
    Shared(Arc<Frame>),
}

/// A connection to a device.
pub trait Transport: Send {
    /// The next frame; `None` when the device is gone. Must be cancel-safe.
    fn receive(&mut self) -> BoxFuture<'_, Option<Up>>;

    /// Sends messages in their order; `false` when the device is gone.
    fn send(&mut self, messages: Vec<Outgoing>) -> BoxFuture<'_, bool>;
}

/// How a driven session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The device went away, or said goodbye.
    Gone,
    /// The session is over for this reason.
    Session(SessionEnd),
    /// The device does not read, and what waits for it is more than a session may hold.
    Stalled,
}

/// Runs a session until it ends.
///
/// # Errors
/// Those of the store and of settling at once; the device is to try again later.
pub async fn drive(
    sync: &Sync,
    push: &Push,
    who: &Principal,
    hello: Hello,
    transport: &mut dyn Transport,
) -> Result<Ended, SyncError> {
    let (mut session, step) = Session::begin(sync, who, hello).await?;
    let mut mailbox = register(push, &session);
    if let Some(ended) = say(transport, &mailbox, step).await {
        return Ok(ended);
    }
    // What the account may see may have changed between the greeting and the registration.
    let mut rights = true;
    loop {
        if std::mem::take(&mut rights)
            && let Some(ended) = refresh(&mut session, &mailbox, transport).await?
        {
            return Ok(ended);
        }
        if session.is_catching_up() {
            let step = session.catch_up().await?;
            if let Some(ended) = say(transport, &mailbox, step).await {
                return Ok(ended);
            }
            // Catching up may take minutes, for a device that reads slowly: what it may see is looked at before each
            // piece.
            rights = session.is_catching_up();
            continue;
        }
        // Both arms are cancel-safe: a frame or a mail is only taken when its arm is chosen.
        tokio::select! {
            biased;
            frame = transport.receive() => {
                let Some(frame) = frame else { return Ok(Ended::Gone) };
                let hello = matches!(frame, Up::Hello(_));
                let step = session.on_frame(frame).await?;
                if hello {
                    mailbox = register(push, &session);
                    rights = true;
                }
                if let Some(ended) = say(transport, &mailbox, step).await {
                    return Ok(ended);
                }
            }
            mail = mailbox.next() => match mail {
                Mail::Rights => rights = true,
                mail => if let Some(ended) = deliver(&mut session, mail, &mailbox, transport).await? {
                    return Ok(ended);
                }
            }
        }
    }
}

/// Looks at what the account may see until that stands still, and says what was gained and lost.
async fn refresh(
    session: &mut Session,
    mailbox: &Mailbox,
    transport: &mut dyn Transport,
) -> Result<Option<Ended>, SyncError> {
    while let Some(step) = session.refresh().await? {
        mailbox.watch(session.scopes(), session.links());
        if let Some(ended) = say(transport, mailbox, step).await {
            return Ok(Some(ended));
        }
    }
    Ok(None)
}

async fn deliver(
    session: &mut Session,
    mail: Mail,
    mailbox: &Mailbox,
    transport: &mut dyn Transport,
) -> Result<Option<Ended>, SyncError> {
    let (last, frames, receipts) = match mail {
        Mail::Commit { last, frames, receipts } => (last, frames, receipts),
        Mail::Lagged { receipts } => {
            session.keep_receipts(receipts);
            session.fall_behind();
            return Ok(None);
        }
        Mail::Rights => return Ok(None),
        Mail::Fence => {
            let step = session.summoned().await?;
            mailbox.watch(session.scopes(), session.links());
            return Ok(say(transport, mailbox, step).await);
        }
    };
    if session.is_parted() {
        return Ok(Some(Ended::Session(SessionEnd::Parted)));
    }
    let passed = session.live(last, receipts, !frames.is_empty());
    let mut messages = Vec::with_capacity(frames.len() + 1);
    if passed.send_frames {
        messages.extend(frames.into_iter().map(Outgoing::Shared));
    }
    messages.extend(passed.commit.map(Outgoing::Line));
    Ok(pass_on(transport, mailbox, messages).await)
}

/// Runs the frames of one `POST /v1/sync`: answers them all, waits a moment for what can still be settled, and ends with
/// a commit.
///
/// # Errors
/// Those of the store and of settling at once.
pub async fn exchange(
    sync: &Sync,
    push: &Push,
    who: &Principal,
    hello: Hello,
    frames: Vec<Up>,
) -> Result<Vec<Bytes>, SyncError> {
    let (mut session, step) = Session::begin(sync, who, hello).await?;
    let mailbox = register(push, &session);
    let mut lines = step.lines;
    if step.end.is_some() {
        return Ok(lines);
    }
    let mut open = session.incarnation().0 != 0 && !session.is_waiting();
    if !open {
        return Ok(lines);
    }
    // Mutations first: what they settle at once is then part of the catching up below.
    for frame in frames {
        let step = session.on_frame(frame).await?;
        lines.extend(step.lines);
        if step.end.is_some_and(|end| end != SessionEnd::Bye) {
            open = false;
            break;
        }
    }
    while let Some(mail) = mailbox.try_next() {
        if let Mail::Commit { receipts, .. } | Mail::Lagged { receipts } = mail {
            session.keep_receipts(receipts);
        }
    }
    while open && session.is_catching_up() {
        // The mutations themselves may have changed what the account may see.
        while let Some(step) = session.refresh().await? {
            lines.extend(step.lines);
            if step.end.is_some() {
                return Ok(lines);
            }
        }
        let step = session.catch_up().await?;
        lines.extend(step.lines);
        if step.end.is_some() {
            return Ok(lines);
        }
    }
    Ok(lines)
}

fn register(push: &Push, session: &Session) -> Mailbox {
    let who = session.who();
    let mailbox = push.register(who.device, who.account, session.incarnation());
    mailbox.watch(session.scopes(), session.links());
    mailbox
}

async fn say(transport: &mut dyn Transport, mailbox: &Mailbox, step: Step) -> Option<Ended> {
    let messages: Vec<Outgoing> = step.lines.into_iter().map(Outgoing::Line).collect();
    if let Some(ended) = pass_on(transport, mailbox, messages).await {
        return Some(ended);
    }
    match step.end {
        Some(SessionEnd::Bye) => Some(Ended::Gone),
        Some(end) => Some(Ended::Session(end)),
        None => None,
    }
}

/// Sends messages, and gives a device up that does not read while more waits for it than a session may hold.
async fn pass_on(transport: &mut dyn Transport, mailbox: &Mailbox, messages: Vec<Outgoing>) -> Option<Ended> {
    for message in messages {
        // One by one, so that a slow device is told from one that does not read.
        let overdue = async {
            mailbox.full().await;
            tokio::time::sleep(limits::SESSION_FULL_STALL).await;
        };
        let over = async {
            mailbox.fenced().await;
            tokio::time::sleep(limits::SESSION_OVER_STALL).await;
        };
        // A send that is given up may leave a part of its message unsent: the session ends with it.
        tokio::select! {
            biased;
            sent = transport.send(vec![message]) => if !sent {
                return Some(Ended::Gone);
            },
            () = overdue => return Some(Ended::Stalled),
            () = over => return Some(Ended::Stalled),
        }
    }
    None
}

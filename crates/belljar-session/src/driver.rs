//! The supervisor's body: one loop that feeds the machine and carries out what it wants, in order.

use std::collections::HashMap;
use std::sync::Arc;

use belljar_client::wire::{ErrorView, SessionView};
use belljar_model::{ErrorCode, SessionState};
use tokio::sync::{mpsc, oneshot, watch};

use crate::backend::Backend;
use crate::machine::{Answer, Ask, Effect, Input, Machine, RequestId, Timer};
use crate::ports::Standing;
use crate::timeline::Timeline;

/// What reaches the supervisor. There is no other way to it.
#[derive(Debug)]
pub(crate) enum Message {
    Input(Input),
    Request { ask: Ask, asker: oneshot::Sender<Result<Answer, ErrorView>> },
    View { asker: oneshot::Sender<SessionView> },
}

/// A way to one session's supervisor. Cloned freely; the supervisor does not end because of it.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) messages: mpsc::UnboundedSender<Message>,
    ended: watch::Receiver<Option<Arc<SessionView>>>,
    state: watch::Receiver<SessionState>,
    standings: watch::Receiver<Arc<[Standing]>>,
}

impl Handle {
    /// Asks, and waits for the answer.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, ErrorView> {
        let (asker, answer) = oneshot::channel();
        let sent = self.messages.send(Message::Request { ask, asker });
        match (sent, answer.await) {
            (Ok(()), Ok(answer)) => answer,
            _ => Err(ended()),
        }
    }

    /// The session as it is now, or as it ended.
    pub async fn view(&self) -> SessionView {
        let (asker, view) = oneshot::channel();
        if self.messages.send(Message::View { asker }).is_ok()
            && let Ok(view) = view.await
        {
            return view;
        }
        SessionView::clone(&*self.ended().await)
    }

    /// Ends the session and waits until it has ended.
    pub async fn end(&self, why: &str) -> Arc<SessionView> {
        // It has ended already where nobody takes this.
        let _ = self.messages.send(Message::Input(Input::End { why: why.to_owned() }));
        self.ended().await
    }

    /// The same, with the replicas stopped by their signals first.
    pub async fn end_in_order(&self, why: &str) -> Arc<SessionView> {
        let _ = self.messages.send(Message::Input(Input::EndInOrder { why: why.to_owned() }));
        self.ended().await
    }

    /// Waits until the session has ended, for whatever reason.
    pub async fn ended(&self) -> Arc<SessionView> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(view) => view.clone().expect("it was just seen to be there"),
            Err(_) => unreachable!("the supervisor says how a session ended before it goes"),
        }
    }

    /// Changes with every change of the session's state.
    pub fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    /// How each replica stands, in the order of the plan; changes with it.
    pub(crate) fn standings(&self) -> watch::Receiver<Arc<[Standing]>> {
        self.standings.clone()
    }

    pub(crate) fn tell(&self, input: Input) {
        // Nobody is left to tell where this fails.
        let _ = self.messages.send(Message::Input(input));
    }
}

fn ended() -> ErrorView {
    ErrorView {
        code: ErrorCode::SessionEnded,
        message: "the session has ended".to_owned(),
        hints: Vec::new(),
    }
}

/// The loop's state.
pub(crate) struct Driver<B> {
    machine: Machine,
    backend: B,
    timeline: Timeline,
    messages: mpsc::UnboundedReceiver<Message>,
    sender: mpsc::WeakUnboundedSender<Message>,
    askers: HashMap<RequestId, oneshot::Sender<Result<Answer, ErrorView>>>,
    next_request: RequestId,
    timers: HashMap<Timer, tokio::task::AbortHandle>,
    ended: watch::Sender<Option<Arc<SessionView>>>,
    state: watch::Sender<SessionState>,
    standings: watch::Sender<Arc<[Standing]>>,
}

/// A channel to a supervisor that does not run yet.
pub(crate) fn channel() -> (mpsc::UnboundedSender<Message>, mpsc::UnboundedReceiver<Message>) {
    mpsc::unbounded_channel()
}

impl<B: Backend> Driver<B> {
    /// Starts the loop and returns the way to it.
    pub(crate) fn start(
        machine: Machine,
        backend: B,
        timeline: Timeline,
        sender: mpsc::UnboundedSender<Message>,
        messages: mpsc::UnboundedReceiver<Message>,
    ) -> Handle {
        let (ended, has_ended) = watch::channel(None);
        let (state, has_state) = watch::channel(machine.state());
        let (standings, has_standings) = watch::channel(machine.standings().into());
        let driver = Self {
            machine,
            backend,
            timeline,
            messages,
            sender: sender.downgrade(),
            askers: HashMap::new(),
            next_request: 0,
            timers: HashMap::new(),
            ended,
            state,
            standings,
        };
        tokio::spawn(driver.run());
        let handle =
            Handle { messages: sender, ended: has_ended, state: has_state, standings: has_standings };
        handle.tell(Input::Begin);
        handle
    }

    async fn run(mut self) {
        while let Some(message) = self.messages.recv().await {
            match message {
                Message::Input(input) => self.feed(input),
                Message::Request { ask, asker } => {
                    self.next_request += 1;
                    let id = self.next_request;
                    self.askers.insert(id, asker);
                    self.feed(Input::Request { id, ask });
                }
                Message::View { asker } => {
                    // Whoever asked may be gone.
                    let _ = asker.send(self.machine.view(self.timeline.seq()));
                }
            }
            self.forget_the_gone();
            if self.machine.state() == SessionState::Ended {
                break;
            }
        }
        for (_, timer) in self.timers.drain() {
            timer.abort();
        }
        self.ended.send_replace(Some(Arc::new(self.machine.view(self.timeline.seq()))));
    }

    fn feed(&mut self, input: Input) {
        if let Input::Timer(timer) = &input {
            self.timers.remove(timer);
        }
        let effects = self.machine.handle(input);
        // Before anybody is answered: who was told that a replica is gone must not be carried to it.
        let standings = self.machine.standings();
        self.standings.send_if_modified(|old| {
            let changed = **old != *standings;
            if changed {
                *old = standings.into();
            }
            changed
        });
        for effect in effects {
            self.carry_out(effect);
        }
        let state = self.machine.state();
        self.state.send_if_modified(|old| std::mem::replace(old, state) != state);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Emit(kind) => {
                if let Err(error) = self.timeline.append(Some(self.machine.id().clone()), kind) {
                    // Without a timeline nothing that we say could be trusted.
                    let why = format!("cannot write the session's events: {error}");
                    self.send_later(Input::End { why });
                }
            }
            Effect::Order(order) => self.backend.carry_out(order),
            Effect::SetTimer { timer, after } => self.set_timer(timer, after),
            Effect::Answer { id, answer } => {
                if let Some(timer) = self.timers.remove(&Timer::WaitRanOut { id }) {
                    timer.abort();
                }
                if let Some(asker) = self.askers.remove(&id) {
                    // Whoever asked may be gone.
                    let _ = asker.send(answer);
                }
            }
        }
    }

    fn set_timer(&mut self, timer: Timer, after: std::time::Duration) {
        let sender = self.sender.clone();
        let goes_off = timer.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Some(sender) = sender.upgrade() {
                let _ = sender.send(Message::Input(Input::Timer(goes_off)));
            }
        });
        if let Some(old) = self.timers.insert(timer, task.abort_handle()) {
            old.abort();
        }
    }

    fn send_later(&self, input: Input) {
        if let Some(sender) = self.sender.upgrade() {
            let _ = sender.send(Message::Input(input));
        }
    }

    fn forget_the_gone(&mut self) {
        let gone: Vec<RequestId> =
            self.askers.iter().filter(|(_, asker)| asker.is_closed()).map(|(&id, _)| id).collect();
        for id in gone {
            self.askers.remove(&id);
            self.feed(Input::Forget { id });
        }
    }
}

//! Several processes at one state directory: this very test program, started again with a part to play.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use belljar_model::{ErrorCode, SessionState};
use belljar_store::{Liveness, Store};

use crate::support::{LATER, State, clean_at, exactly, id};

/// Tells a process of this program that it is a child: the state directory.
const STATE: &str = "BELLJAR_STORE_TEST_STATE";
/// And the number of its session.
const NUMBER: &str = "BELLJAR_STORE_TEST_NUMBER";

/// The child's part: it says `here`, waits for a line, tries to create a session called `pods`, says what came
/// of it, and keeps what it has until its input ends. Started as a test, it has nothing to do.
#[test]
fn child() {
    let (Ok(state), Ok(number)) = (std::env::var(STATE), std::env::var(NUMBER)) else { return };
    let mut out = std::io::stdout();
    let mut input = std::io::stdin().lock();
    let store = Store::open(Path::new(&state)).unwrap();
    let mut say = |text: &str| {
        writeln!(out, "\nchild: {text}").unwrap();
        out.flush().unwrap();
    };
    say("here");
    input.read_line(&mut String::new()).unwrap();
    let created = store.create_session(&exactly(number.parse().unwrap(), "pods"));
    match &created {
        Ok(_) => say("created"),
        Err(error) => say(error.code().as_str()),
    }
    input.read_to_end(&mut Vec::new()).unwrap();
}

struct Player {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
}

impl Player {
    fn start(state: &Path, number: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::child", "--nocapture"])
            .env(STATE, state)
            .env(NUMBER, number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut player = Self { child, input, output };
        assert_eq!(player.hear(), "here");
        player
    }

    /// What it says next.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the child has ended");
            if let Some(said) = line.strip_prefix("child: ") {
                return said.trim_end().to_owned();
            }
        }
    }

    fn go(&mut self) {
        self.input.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// SIGKILL, and waits until it is gone.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn of_those_who_want_a_name_at_once_exactly_one_gets_it() {
    let state = State::new();
    let mut players: Vec<_> = (0..6).map(|number| Player::start(&state.dir, number)).collect();
    for player in &mut players {
        player.go();
    }
    let mut said: Vec<_> = players.iter_mut().map(Player::hear).collect();
    said.sort_unstable();
    let mut expected = vec![ErrorCode::SessionNameTaken.as_str(); 6];
    expected[0] = "created";
    assert_eq!(said, expected);
    let store = state.open();
    let all = store.sessions().unwrap();
    assert_eq!(all.len(), 1);
    assert!(all[0].liveness().unwrap().is_live());
    let left = fs_err::read_dir(state.dir.join("sessions")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name != "by-stack").count(), 1, "the losers leave nothing");
    players.into_iter().for_each(Player::end);
}

#[test]
fn who_is_killed_is_dead_at_once_and_its_name_is_free() {
    let state = State::new();
    let mut player = Player::start(&state.dir, 1);
    player.go();
    assert_eq!(player.hear(), "created");
    let store = state.open();
    let record = store.sessions().unwrap().remove(0);
    assert_eq!(record.liveness().unwrap(), Liveness::Live(SessionState::Starting));
    assert!(store.clean(&clean_at(LATER)).unwrap().removed.is_empty());

    player.kill();
    assert_eq!(record.liveness().unwrap(), Liveness::Dead);
    let owned = store.create_session(&exactly(2, "pods")).unwrap();
    let cleaned = store.clean(&clean_at(LATER)).unwrap();
    assert_eq!(cleaned.removed.len(), 1);
    assert_eq!(cleaned.removed[0].id, id(1).as_str());
    assert!(owned.dir().logs().is_dir());
}

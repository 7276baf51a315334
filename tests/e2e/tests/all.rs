//! Every end-to-end test, one program; a module per topic.

mod bad_input;
mod clean;
mod command_line;
mod crash;
mod events;
mod faults;
mod harness;
mod hostile;
mod lifecycle;
mod logs;
mod messages;
mod names;
mod ordering;
mod protocol;
mod readiness;
mod recipes;
mod restarts;
mod run;
mod sealing;
mod servers;
mod signals;
mod terminals;
mod test_verb;
mod waiting;

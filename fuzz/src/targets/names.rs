//! The session's name server: packets in.

use std::net::Ipv4Addr;

use belljar_stack::RecipeBook;
use belljar_stack::plan::Plan;
use simple_dns::Packet;
use simple_dns::rdata::RData;

use super::plans::{parse, plan};

thread_local! {
    static PLAN: Plan = a_plan();
}

fn a_plan() -> Plan {
    let text = "[service.db]\nrun = 'db'\n[service.api]\nrun = 'api'\nreplicas = 3\n[service.many]\nrun = 'x'\nreplicas = 64\n";
    let stack = parse(text.to_owned(), &RecipeBook::builtin()).unwrap_or_else(|faults| panic!("{faults}"));
    plan(&stack).expect("nothing of it depends on the machine")
}

/// An answer is one, bears the query's number, and tells nothing but addresses of this session.
pub fn run(data: &[u8]) {
    // No datagram that is longer is read.
    let data = &data[..data.len().min(1500)];
    PLAN.with(|plan| {
        let Some(answer) = belljar_session::fuzzing::name_server_answer(plan, "pods", data) else { return };
        assert_eq!(answer[..2], data[..2], "another query's number");
        assert!(answer[2] & 0x80 != 0, "not an answer");
        let parsed = Packet::parse(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        for one in &parsed.answers {
            let RData::A(a) = &one.rdata else { panic!("{one:?}") };
            let address = Ipv4Addr::from(a.address);
            let is_ours = |replica: &belljar_stack::plan::ReplicaPlan| replica.address == address;
            assert!(
                address == Ipv4Addr::LOCALHOST || address == plan.address || plan.replicas().any(is_ours),
                "{address} is not in the plan"
            );
        }
    });
}

pub const WORDS: &[&str] = &[
    "\u{2}db\u{0}",
    "\u{3}api\u{0}",
    "\u{5}api-2\u{0}",
    "\u{4}many\u{0}",
    "\u{4}pods\u{0}",
    "\u{9}localhost\u{0}",
    "\u{0}\u{1}\u{0}\u{1}",
    "\u{0}\u{1c}\u{0}\u{1}",
    "\u{0}\u{29}\u{10}\u{0}",
    "\u{1}.\u{0}",
    "\u{1}\\\u{0}",
];

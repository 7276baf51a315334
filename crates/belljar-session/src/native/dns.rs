//! The session's name server: it knows the session's names and nothing else, and never asks anybody.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use belljar_stack::plan::Plan;
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::net::UdpSocket;

/// Seconds that an answer may be kept: none, for tests that change names.
const TIME_TO_LIVE: u32 = 0;

/// Names and what they stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(BTreeMap<String, Vec<Ipv4Addr>>);

impl Names {
    /// Every replica by its own name, every service by all of its replicas, services of the host, and the session by
    /// its own.
    pub(crate) fn of(plan: &Plan, session: &str) -> Self {
        let mut names: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
        for service in &plan.services {
            for replica in &service.replicas {
                names.entry(replica.name.to_string()).or_default().push(replica.address);
                names.entry(service.name.to_string()).or_default().push(replica.address);
            }
        }
        for service in &plan.host_services {
            names.insert(service.name.to_string(), service.address.into_iter().collect());
        }
        Self::with(names, session, plan.address)
    }

    /// These, and what every session has: itself, and the place where it is asked.
    pub(crate) fn with(mut names: BTreeMap<String, Vec<Ipv4Addr>>, session: &str, address: Ipv4Addr) -> Self {
        names.insert("localhost".to_owned(), vec![Ipv4Addr::LOCALHOST]);
        // A service that bears the session's name keeps it.
        names.entry(session.to_owned()).or_insert_with(|| vec![address]);
        Self(names)
    }

    /// Whether somebody is called so.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The text of /etc/hosts.
    pub(crate) fn hosts_file(&self) -> String {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
        for (name, addresses) in self.0.iter().filter(|(name, _)| *name != "localhost") {
            for address in addresses {
                use std::fmt::Write as _;
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{address} {name}");
            }
        }
        text
    }

    /// Answers one query; `None` where it is not even one.
    pub(crate) fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Packet::parse(query).ok()?;
        if query.has_flags(PacketFlag::RESPONSE) {
            return None;
        }
        let question = query.questions.first()?.clone();
        let asked = question.qname.to_string().to_ascii_lowercase();
        let mut answer = Packet::new_reply(query.id());
        answer.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        if query.has_flags(PacketFlag::RECURSION_DESIRED) {
            answer.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
        }
        match self.0.get(asked.trim_end_matches('.')) {
            None => *answer.rcode_mut() = RCODE::NameError,
            Some(addresses) if matches!(question.qtype, QTYPE::TYPE(TYPE::A) | QTYPE::ANY) => {
                for &address in addresses {
                    answer.answers.push(ResourceRecord::new(
                        question.qname.clone(),
                        CLASS::IN,
                        TIME_TO_LIVE,
                        RData::A(A { address: address.into() }),
                    ));
                }
            }
            // The name is there, but has no record of this type.
            Some(_) => {}
        }
        answer.questions.push(question);
        answer.build_bytes_vec().ok()
    }
}

/// After a question that could not be taken in: what is short then is short for a moment.
const BREATH: Duration = Duration::from_millis(5);

/// Answers until it is dropped, with its session.
pub(crate) async fn serve(socket: UdpSocket, names: Arc<RwLock<Names>>) {
    let mut buffer = [0; 1500];
    loop {
        let Ok((count, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let answer = names.read().unwrap_or_else(PoisonError::into_inner).answer(&buffer[..count]);
        if let Some(answer) = answer {
            // Whoever asked may be gone already; that concerns nobody else.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use simple_dns::{Name, QCLASS, Question};

    use super::*;

    fn ask(names: &Names, name: &str, kind: TYPE) -> (RCODE, Vec<Ipv4Addr>) {
        let mut query = Packet::new_query(7);
        let name = Name::new(name).unwrap().into_owned();
        query.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
        let bytes = names.answer(&query.build_bytes_vec().unwrap()).unwrap();
        let answer = Packet::parse(&bytes).unwrap();
        assert_eq!(answer.id(), 7);
        let addresses = answer
            .answers
            .iter()
            .filter_map(|one| match &one.rdata {
                RData::A(a) => Some(Ipv4Addr::from(a.address)),
                _ => None,
            })
            .collect();
        (answer.rcode(), addresses)
    }

    #[test]
    fn it_knows_the_sessions_names_and_no_others() {
        let (one, two) = (Ipv4Addr::new(10, 77, 1, 1), Ipv4Addr::new(10, 77, 1, 2));
        let names = Names([("api".to_owned(), vec![one, two]), ("api-2".to_owned(), vec![two])].into());
        assert_eq!(ask(&names, "api", TYPE::A), (RCODE::NoError, vec![one, two]));
        assert_eq!(ask(&names, "API-2", TYPE::A), (RCODE::NoError, vec![two]));
        assert_eq!(ask(&names, "api", TYPE::AAAA), (RCODE::NoError, vec![]));
        assert_eq!(ask(&names, "example.com", TYPE::A), (RCODE::NameError, vec![]));
        assert_eq!(names.answer(b"not a query"), None);
    }
}

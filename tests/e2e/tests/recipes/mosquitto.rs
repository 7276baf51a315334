//! Mosquitto.

use belljar_e2e::{needs, world};

use super::{kill_and_start, refused, says, stops_with_zero};

#[test]
fn mosquitto_answers_keeps_what_is_retained_and_stops_by_itself() {
    let env = world!();
    needs!("mosquitto", "mosquitto_pub", "mosquitto_sub");
    env.stack("[service.broker]\nuse = \"mosquitto\"\n");
    env.up();
    let sub = |words: &str| says(&env, &format!("mosquitto_sub -W 20 {words}"));
    says(&env, "mosquitto_pub -L \"$BROKER_URL/lamp\" -q 1 -r -m on");
    assert_eq!(sub("-h broker-1 -t lamp -C 1"), "on");
    // Who subscribed once is told what was said in the meantime.
    sub("-h broker -t door -q 1 -i ada -c -E");
    says(&env, "mosquitto_pub -h broker -t door -q 1 -m open");
    kill_and_start(&env, "broker-1");
    assert_eq!(sub("-h broker -t lamp -C 1"), "on");
    assert_eq!(sub("-h broker -t door -q 1 -i ada -c -C 1"), "open");
    stops_with_zero(&env, "broker-1", "terminating");
}

#[test]
fn parameters_of_mosquitto_are_checked() {
    let env = world!();
    refused(&env, "mosquitto", "persist = \"always\"", &["expected true or false for `persist`"]);
}

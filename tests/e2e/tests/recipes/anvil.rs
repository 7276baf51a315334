//! anvil, from npm.

use belljar_e2e::{needs, server_dir, world};

use super::{kill_and_start, refused, says, stops_with_zero, until};

#[test]
fn anvil_answers_keeps_its_chain_and_stops_by_itself() {
    let env = world!();
    needs!("curl");
    let Some(modules) = server_dir("node_modules/@foundry-rs") else { return };
    // As `npm install` in the project would have put it there.
    fs_err::create_dir(env.dir().join("node_modules")).unwrap();
    std::os::unix::fs::symlink(modules, env.dir().join("node_modules/@foundry-rs")).unwrap();
    env.stack("[service.chain]\nuse = \"anvil\"\nwith = { chain_id = 1337, accounts = 3 }\n");
    env.up();
    let rpc = |method: &str, parameters: &str| {
        format!(
            "curl -fsS -H 'content-type: application/json' \
             -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":[{parameters}]}}' \"$CHAIN_URL\""
        )
    };
    assert!(says(&env, &rpc("eth_chainId", "")).ends_with("\"result\":\"0x539\"}"));
    let accounts = says(&env, &rpc("eth_accounts", ""));
    assert_eq!(accounts.matches("\"0x").count(), 3, "{accounts}");
    let first = "\"from\":\"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\"";
    let second = "\"to\":\"0x70997970c51812dc3a010c7d01b50e0d17dc79c8\"";
    let sent = says(&env, &rpc("eth_sendTransaction", &format!("{{{first},{second},\"value\":\"0x1\"}}")));
    assert!(sent.contains("\"result\":\"0x"), "{sent}");
    // It writes its state every second.
    until(&env, "cat \"$STATE\"/sessions/*/volumes/chain-1/data/state.json | grep -q '\"best_block_number\":\"\\?0x1\\|\"number\":\"0x1\"'".replace("$STATE", &env.state_dir().to_string_lossy()).as_str());
    kill_and_start(&env, "chain-1");
    assert!(says(&env, &rpc("eth_blockNumber", "")).ends_with("\"result\":\"0x1\"}"));
    says(&env, &rpc("evm_mine", ""));
    stops_with_zero(&env, "chain-1", "Listening on 0.0.0.0:8545");
    env.run("start chain-1").ok();
    assert!(says(&env, &rpc("eth_blockNumber", "")).ends_with("\"result\":\"0x2\"}"));
}

#[test]
fn parameters_of_anvil_are_checked() {
    let env = world!();
    refused(&env, "anvil", "accounts = 0", &["`0` does not fit `accounts`"]);
    refused(&env, "anvil", "mnemonic = \"too few words\"", &["does not fit `mnemonic`"]);
    refused(&env, "anvil", "block_time = \"-1\"", &["does not fit `block_time`"]);
}

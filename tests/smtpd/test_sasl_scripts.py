"""SASL mechanisms by script: whole gateways and true scripts, scripts/auth among them; dialogues, smtplib, swaks."""

import asyncio
import re
import smtplib
from base64 import b64decode, b64encode
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from loopgateway import gateway, greeted
from smtp_dialogue import Dialogue, eventually

from hsl.smtpd.auth import MAX_ROUNDS
from hsl.smtpd.configfile import load_config
from hsl.smtpd.yamlfile import ConfigError

pytestmark = pytest.mark.asyncio
SAMPLE = Path(__file__).resolve().parents[2] / "scripts" / "auth"
OWN = "mechanisms: [PLAIN, X-OWN]"
MAILFROM = 'echo "user=$saslusername"; echo $connection["auth"] ?? "nobody"; Accept();'


def base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def line(text: str) -> str:
    """A response as it goes over the wire."""
    return base64(text) or "="


class Site:
    """A gateway, its log, its clients."""

    def __init__(self, made, lines):
        self.made, self.lines = made, lines
        self.clients: list[Dialogue] = []

    async def client(self) -> Dialogue:
        self.clients.append(await greeted(self.made))
        return self.clients[-1]

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def verdicts(self) -> list[str]:
        return [item for item in self.lines if " verdict stage=auth " in item]


@asynccontextmanager
async def running(folder: Path, script: str, auth: str, **scripts: str):
    lines: list[str] = []
    async with gateway(folder, lines, {"auth": script, "mailfrom": MAILFROM, **scripts}, auth=auth) as made:
        here = Site(made, lines)
        try:
            yield here
        finally:
            for client in here.clients:
                client.writer.transport.abort()


@pytest.fixture
def site(tmp_path):
    return lambda script, auth=OWN, **scripts: running(tmp_path, script, auth, **scripts)


# --- the rounds

SHOW = 'echo "round " . json_encode($arguments);'
THREE = f"""{SHOW}
$context[] = $arguments["state"];
if ($arguments["state"] < 2) Reply("question " . $arguments["state"]);
if ($arguments["response"] == "right") Accept(["username" => "carol", "reason" => "come in " . length($context)]);
Reject();
"""


async def test_rounds_count_up_and_share_the_context(site):
    async with site(THREE) as here:
        client = await here.client()
        assert await client.ask("AUTH x-own") == "334 " + base64("question 0")
        assert await client.ask(line("first answer")) == "334 " + base64("question 1")
        assert await client.ask(line("right")) == "235 2.7.0 come in 3"
        await client.play("C: AUTH X-OWN\nS: 503 5.5.1\nC: MAIL FROM:<>\nS: 250")
        await eventually(lambda: "user=carol" in here.log)
        assert '["mechanism"=>"X-OWN","username"=>"carol"]' in here.log.replace('\\"', '"')
        assert [item.split(" code=")[1].split()[0] for item in here.verdicts()] == ["334", "334", "235"]
        rounds = [item for item in here.log.replace("\\", "").split("\n") if 'text="round' in item]
        assert '"state":0}' in rounds[0]
        assert '"state":1,"response":"********"' in rounds[1]
        assert len(rounds) == 3


@pytest.mark.parametrize(
    ("initial", "seen"), [("", "null"), (" =", '""'), (" " + base64("hello there"), '"hello there"')]
)
async def test_the_initial_response_is_none_or_decoded(site, initial, seen):
    async with site('Reply(json_encode($arguments["response"] ?? none));') as here:
        answer = await (await here.client()).ask(f"AUTH X-OWN{initial}")
        assert b64decode(answer.removeprefix("334 ")).decode() == seen


ONCE = 'if ($arguments["state"] == 0) Reply("more"); '
ENDS = [
    (ONCE + "Accept();", "235 2.7.0", ""),
    (ONCE + 'Accept(["username" => "carol", "reply_codes" => ["code" => 250]]);', "250 2.7.0", "carol"),
    (ONCE + "Reject();", "535 5.7.8", None),
    (ONCE + 'Reject(["no", "never"]);', "535-5.7.8 no\n535 5.7.8 never", None),
    (ONCE + 'Reject("no", ["reply_codes" => ["code" => 550, "enhanced" => [5, 7, 1]]]);', "550 5.7.1 no", None),
    (ONCE + "Defer();", "454 4.7.0", None),
    (ONCE + 'Defer("later", ["reply_codes" => ["code" => 432]]);', "432 4.7.0 later", None),
    (ONCE, "535 5.7.8", None),
    (ONCE + "$none->nothing();", "454 4.7.0", None),
    (ONCE + 'Reply("x", ["reply_codes" => ["code" => 535]]);', "454 4.7.0", None),
    (ONCE + 'Reply("x", ["reply_codes" => ["enhanced" => [3, 0, 0]]]);', "454 4.7.0", None),
    (ONCE + "Reply(str_repeat(\"x\", 9217));", "454 4.7.0", None),
]  # fmt: skip


@pytest.mark.parametrize(("script", "wanted", "user"), ENDS)
async def test_only_an_explicit_accept_lets_in(site, script, wanted, user):
    async with site(script) as here:
        client = await here.client()
        await client.play("C: AUTH X-OWN\nS: 334 " + base64("more"))
        assert (await client.ask(line("answer"))).startswith(wanted)
        await client.play("C: MAIL FROM:<>\nS: 250")
        await eventually(lambda: "user=" in here.log)
        assert ("nobody" in here.log) == (user is None)
        if user is None:
            await client.play("C: RCPT TO:<a@b.example>\nS: 550 5.7.1")
        else:
            assert f"user={user}" in here.log
            await client.play("C: RCPT TO:<a@b.example>\nS: 250")


@pytest.mark.parametrize("action", ["Reject", "Defer", "Reply"])
async def test_the_last_word_may_disconnect(site, action):
    async with site(f'{action}("bye", ["disconnect" => true]);') as here:
        client = await here.client()
        assert await client.ask("AUTH X-OWN")
        await client.play("S:")


async def test_a_challenge_of_9216_bytes_is_one_line(site):
    async with site('if ($arguments["state"] == 0) Reply(str_repeat("x", 9216)); Accept();') as here:
        client = await here.client()
        assert len(await client.ask("AUTH X-OWN")) == 4 + 12_288
        assert (await client.ask(line("fine"))).startswith("235")


async def test_another_code_of_class_3(site):
    async with site('Reply("x", ["reply_codes" => ["code" => 335]]);') as here:
        assert await (await here.client()).ask("AUTH X-OWN") == "335 " + base64("x")


# --- what a client may not do

ASK = 'if ($arguments["state"] < 2) Reply("q"); Accept();'


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("*", "501 5.7.0"),
        ("!!", "501 5.5.2"),
        ("A" * 12_289, "500 5.5.6"),
        ("A" * 200_000, "500 5.5.6"),
        ("A" * 12_288, "334"),
        ("", "334"),
    ],
)
async def test_responses_at_the_limits_and_past_them(site, answer, wanted):
    async with site(ASK) as here:
        client = await here.client()
        await client.play("C: AUTH X-OWN\nS: 334")
        assert (await client.ask(answer)).startswith(wanted)
        if wanted != "334":  # the exchange is over: a later response is no command
            await client.play("C: NOOP\nS: 250\nC: AUTH X-OWN\nS: 334\nC: *\nS: 501 5.7.0")


async def test_an_exchange_has_a_last_round(site):
    async with site('Reply("again " . $arguments["state"]);') as here:
        client = await here.client()
        await client.play("C: AUTH X-OWN\nS: 334")
        for _ in range(MAX_ROUNDS - 1):
            await client.play(f"C: {line('answer')}\nS: 334")
        await client.play(f"C: {line('answer')}\nS: 334\nC: {line('answer')}\nS: 535 5.7.8\nC: NOOP\nS: 250")
        assert len([item for item in here.verdicts() if "code=535" in item]) == 1


async def test_failed_exchanges_count_as_failed_logins(site):
    async with site(ONCE + "Reject();") as here:
        client = await here.client()
        for _ in range(3):
            await client.play(f"C: AUTH X-OWN\nS: 334\nC: {line('wrong')}\nS: 535")
        await client.play("C: AUTH X-OWN\nS: 421 4.7.0\nS:")


@pytest.mark.parametrize("leaving", ["cancels", "sends no base64", "closes", "resets", "is closed"])
async def test_who_leaves_at_the_challenge_that_tells_of_a_wrong_response_has_failed(tmp_path, leaving):
    """Else an error challenge, as of XOAUTH2, would answer as many guesses as one likes."""
    told = 'Reply("wrong", ["disconnect" => true]);' if leaving == "is closed" else 'Reply("wrong");'
    async with running(tmp_path, told, OWN) as here:
        server = here.made.servers["out"]
        client = await here.client()
        await client.play(f"C: AUTH X-OWN {line('guess')}\nS: 334")
        match leaving:
            case "cancels":
                await client.play("C: *\nS: 501")
            case "sends no base64":
                await client.play("C: ?\nS: 501")
            case "closes":
                await client.close()
            case "resets":
                client.writer.transport.abort()
            case "is closed":
                await client.play("S:")
        await eventually(lambda: len(server.failed_logins.peers.get("127.0.0.1", ())) == 1)


async def test_who_cancels_before_any_response_has_not_failed(site):
    async with site('Reply("nonce");') as here:
        client = await here.client()
        for _ in range(5):
            await client.play("C: AUTH X-OWN\nS: 334\nC: *\nS: 501")
        assert not here.made.servers["out"].failed_logins.peers


async def test_a_client_that_leaves_within_an_exchange(site):
    async with site(ASK) as here:
        client = await here.client()
        await client.play("C: AUTH X-OWN\nS: 334")
        await client.close()
        server = here.made.servers["out"]
        await eventually(lambda: server.sessions == 0)


async def test_a_silent_client_within_an_exchange(tmp_path, monkeypatch):
    from smtp_dialogue import Bench

    from hsl.runtime.verdict import Verdict

    bench = Bench(tmp_path, monkeypatch)
    bench.runner.stages["auth"] = Verdict("reply", options={"challenge": b"x"})
    auth = {"without_tls": True, "mechanisms": ["X-OWN"]}
    await bench.start(auth=auth, limits={"idle": 0.2})
    await (await bench.greeted()).play("C: AUTH X-OWN\nS: 334\nS: 421 4.4.2\nS:")
    await bench.close()


async def test_mechanisms_that_are_not_announced(site):
    async with site("Accept();", auth="mechanisms: [x-own]") as here:
        client = await here.client()
        assert "250 AUTH X-OWN" in (await client.ask("EHLO c.example")).split("\n")[-1]
        await client.play(f"C: AUTH PLAIN {base64(chr(0) + 'a' + chr(0) + 'b')}\nS: 504 5.5.4\nC: AUTH LOGIN\nS: 504")
        await client.play("C: AUTH X-OTHER\nS: 504\nC: AUTH X-OWN\nS: 235")


HELO = {
    "other": ('Accept(["extensions" => ["AUTH X-OWN X-NEW"]]);', {"X-NEW": "235", "PLAIN": "504"}),
    "none": ('Accept(["extensions" => ["SIZE 100"]]);', {"X-OWN": "502", "PLAIN": "502"}),
}


@pytest.mark.parametrize("name", HELO)
async def test_a_helo_script_says_what_is_announced(site, name):
    script, wanted = HELO[name]
    for mechanism, answer in wanted.items():
        async with site("Accept();", helo=script) as here:
            assert (await (await here.client()).ask(f"AUTH {mechanism}")).startswith(answer)


async def test_plain_and_login_have_nothing_to_reply(site):
    async with site('Reply("x");') as here:
        response = base64("\0user\0hunter2")
        assert (await (await here.client()).ask(f"AUTH PLAIN {response}")).startswith("454 4.7.0")
        assert "PLAIN and LOGIN are built in" in here.log


BAD = ["[]", "[A B]", "[ABCDEFGHIJKLMNOPQRSTU]", "[X.Y]"]


@pytest.mark.parametrize("mechanisms", BAD)
async def test_wrong_mechanisms_in_the_configuration(tmp_path, mechanisms):
    path = tmp_path / "smtpd.yaml"
    path.write_text(
        f"servers:\n- id: s\n  listeners: [{{port: 0}}]\n  transport: t\n  auth:\n    mechanisms: {mechanisms}\n"
        "transportgroups: [{id: g, transports: [{id: t}]}]\n"
    )
    with pytest.raises(ConfigError, match="mechanisms"):
        load_config(path)


# --- secrets

LEAKS = """
$response = $arguments["response"] ?? "";
if ($arguments["state"] == 0) Reply("go");
if ($arguments["state"] == 1) { $context = $response; echo "one " . $response; Reply("and"); }
echo "whole " . $response;
echo $arguments;
echo "coded " . base64_encode($response);
echo "token " . str_split(str_split($response, "\\x01")[1], " ")[1];
echo "proof " . str_split($response, "p=")[1];
echo "before " . $context;
syslog("info", "logged " . $response);
Reject("you said " . $response . " and " . $context);
"""


async def test_responses_are_masked_in_log_and_replies(site):
    secrets = ["tok3n.with-parts", "pr00f+of/it=", "earlier-secret"]
    response = f"user=alice@one.example\x01auth=Bearer {secrets[0]}\x01c=biws,p={secrets[1]}"
    async with site(LEAKS) as here:
        client = await here.client()
        await client.play(f"C: AUTH X-OWN\nS: 334\nC: {line(secrets[2])}\nS: 334")
        answer = await client.ask(line(response))
        assert answer.startswith("535 5.7.8 you said ********")
        await eventually(lambda: "logged" in here.log)
        for word in ("one", "whole", "coded", "token", "proof", "before", "logged"):
            assert f"{word} ********" in here.log
        for secret in (*secrets, base64(response), line(secrets[2])):
            assert secret not in here.log
            assert secret not in answer


async def test_errors_do_not_show_responses(site):
    async with site('$text = "x"; throw Exception("bad " . $arguments["response"]);') as here:
        answer = await (await here.client()).ask("AUTH X-OWN " + line("hunter2 hunter3"))
        assert answer.startswith("454 4.7.0 Temporary")
        assert "bad ********" in here.log
        assert "hunter" not in here.log


# --- the sample scripts, and clients that are not ours


@pytest_asyncio.fixture
async def sample(tmp_path):
    """scripts/auth as it stands."""
    (tmp_path / "users.json").write_text((SAMPLE / "users.json").read_text())
    script = (SAMPLE / "auth.hsl").read_text()
    mechanisms = load_config(SAMPLE / "smtpd.yaml").config.servers[0].auth.mechanisms
    async with running(tmp_path, script, f"mechanisms: [{','.join(mechanisms)}]") as here:
        yield here


@pytest.mark.parametrize("mechanism", ["cram_md5", "plain", "login"])
async def test_smtplib(sample, mechanism):
    def talk(password):
        with smtplib.SMTP(*sample.made.addresses["out"][0], timeout=30) as client:
            client.ehlo()
            client.user, client.password = "bob", password
            return client.auth(mechanism.upper().replace("_", "-"), getattr(client, f"auth_{mechanism}"))

    code, _ = await asyncio.to_thread(talk, "battery staple")
    assert code == 235
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        await asyncio.to_thread(talk, "wrong")
    assert caught.value.smtp_code == 535
    assert "username=bob" in sample.log
    assert "staple" not in sample.log


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "PLAIN", "LOGIN"])
async def test_swaks(sample, mechanism):
    host, port = sample.made.addresses["out"][0]
    options = ["--from", "a@one.example", "--to", "b@two.example", "--auth", mechanism]
    for password, code in (("battery staple", 0), ("wrong", 28)):
        process = await asyncio.create_subprocess_exec(
            "swaks", "--server", f"{host}:{port}", *options, "--auth-user", "bob", "--auth-password", password,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == code, output.decode()
        assert (b"235 2.7.0" in output) == (code == 0)


async def test_cram_md5_challenges_are_new_each_time(sample):
    client = await sample.client()
    first = await client.ask("AUTH CRAM-MD5")
    await client.play("C: *\nS: 501")
    second = await client.ask("AUTH CRAM-MD5")
    assert first != second
    for challenge in (first, second):
        assert re.fullmatch(rb"<\S+@\S+>", b64decode(challenge.removeprefix("334 ")))


async def test_cram_md5_of_an_unknown_user(sample):
    client = await sample.client()
    for answer in ("nobody " + "0" * 32, "nobody", "", " "):
        await client.play("C: RSET\nS: 250\nC: AUTH CRAM-MD5\nS: 334")
        assert (await client.ask(line(answer)))[:3] in ("535", "421")
        client = await sample.client()


async def test_xoauth2(sample):
    good = "user=bob\x01auth=Bearer token-of-bob\x01\x01"
    await (await sample.client()).play(f"C: AUTH XOAUTH2 {line(good)}\nS: 235\nC: MAIL FROM:<>\nS: 250")
    await (await sample.client()).play(f"C: AUTH XOAUTH2\nS: 334 \nC: {line(good)}\nS: 235")
    client = await sample.client()
    for bad in (good.replace("of-bob", "of-eve"), good.replace("user=bob", "user=eve"), "rubbish"):
        error = base64('{"status":"401","schemes":"bearer"}')
        await client.play(f"C: AUTH XOAUTH2 {line(bad)}\nS: 334 {error}\nC:\nS: 535 5.7.8")
        client = await sample.client()
    await eventually(lambda: "user=bob" in sample.log)
    assert "token-of" not in sample.log

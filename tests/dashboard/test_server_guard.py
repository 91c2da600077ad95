"""Nobody gets in without the key, under another name, or out of the run's folder."""

import pytest
from dashboard_run import make_run, opened, told, write_config
from starlette.testclient import TestClient

from vitreous.dashboard.app import build_app
from vitreous.dashboard.guard import COOKIE, Keys
from vitreous.dashboard.serve import free_socket
from vitreous.dashboard.session import Session
from vitreous.errors import InputError

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def session(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    write_config(run)
    return Session(run)


@pytest.fixture
def keys():
    return Keys()


@pytest.fixture
def app(session, keys):
    return build_app(session, keys)


def test_without_a_key_every_door_is_shut(app):
    client = TestClient(app, base_url=LOCAL)
    for path in ("/", "/index.html", "/api/run", "/api/volume?consensus=1", "/?token=guess"):
        assert client.get(path).status_code == 403
    refused = client.post("/api/select", json={"rule": {"all": True}}, headers={"X-Token": "no"})
    assert refused.status_code == 403
    assert "terminal" in told(client.get("/api/run"))


def test_a_link_opens_one_session(app, keys):
    fresh = []
    keys._tell = fresh.append
    token = keys.token
    client = TestClient(app, base_url=LOCAL, follow_redirects=False)
    answer = client.get(f"/?token={token}&view=latent")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?view=latent"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}-8000=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert token not in cookie
    assert client.get("/api/run").status_code == 200
    # A reload of the first address, the cookie held, is no second use.
    assert client.get(f"/?token={token}").status_code == 303
    stranger = TestClient(app, base_url=LOCAL, follow_redirects=False)
    assert "used already" in told(stranger.get(f"/?token={token}"))
    assert stranger.get("/api/run").status_code == 403
    assert fresh == [keys.token]
    assert stranger.get(f"/?token={fresh[0]}").status_code == 303
    assert stranger.get("/api/run").status_code == 200


def test_one_browser_shows_two_runs_beside_other_servers(app, keys, session):
    other = Keys()
    opened_one = TestClient(app, base_url=LOCAL, follow_redirects=False)
    # Cookies of one machine are sent to each of its ports.
    two = TestClient(
        build_app(session, other),
        base_url="http://127.0.0.1:8001",
        cookies=opened_one.cookies,
        follow_redirects=False,
    )
    for client, key in ((opened_one, keys), (two, other)):
        assert client.get(f"/?token={key.token}").status_code == 303
    both = f"{COOKIE}-8000={keys.session}; {COOKIE}-8001={other.session}"
    for foreign in ("a/b=1", 'layout={"a": 1}', "two words"):
        for client in (opened_one, two):
            header = {"Cookie": f"{foreign}; {both}"}
            assert client.get("/api/run", headers=header).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", "10.0.0.1", ""])
def test_foreign_names_of_this_machine_are_refused(app, keys, host):
    client = TestClient(app, base_url=LOCAL, headers={"X-Token": keys.session})
    assert client.get("/api/run", headers={"Host": host}).status_code == 403


def test_a_forwarded_port_is_let_in_and_another_page_is_not(app, keys):
    client = TestClient(app, base_url=LOCAL, headers={"X-Token": keys.session})
    assert client.get("/api/run", headers={"Host": "localhost:9123"}).status_code == 200
    rule = {"rule": {"all": True}}
    for origin in ("https://evil.example", "http://localhost:8000", "null"):
        answer = client.post("/api/select", json=rule, headers={"Origin": origin})
        assert answer.status_code == 403
    own = client.get("/api/run", headers={"Origin": LOCAL})
    assert own.status_code == 200
    policy = own.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy


def test_no_path_leads_out_of_the_run(tmp_path):
    run = make_run(tmp_path)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (run / "loss.png").write_bytes(b"picture")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with opened(run) as client:
        assert client.get("/api/training/picture/loss.png").content == b"picture"
        for name in ("../secret.png", "%2e%2e%2fsecret.png", "config.yaml", str(tmp_path)):
            assert client.get(f"/api/training/picture/{name}").status_code == 404
        for name in ("..%2fserve.py", "%2e%2e/serve.py", "..%2f..%2f__init__.py"):
            assert client.get(f"/{name}").status_code in (404, 405)
        rule = {"cluster": [1]}
        for name in ("../evil", "/tmp/evil", "a/b", "..", ".hidden", "", "a\0b"):
            for form in ("star", "index", "csv"):
                wanted = {"rule": rule, "name": name, "format": form}
                told(client.post("/api/selections/export", json=wanted))
        told(client.put("/api/selections/..%2f..%2fevil", json={"rule": rule}))
        told(client.delete("/api/selections/..%2fconfig"))
        told(client.post("/api/select", json={"rule": {"named": "../config"}}))
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_second_dashboard_takes_the_next_port():
    first = free_socket(0)
    port = first.getsockname()[1]
    second = free_socket(port)
    assert second.getsockname()[0] == "127.0.0.1"
    assert port < second.getsockname()[1] <= port + 100
    for held in (first, second):
        held.close()
    with pytest.raises(InputError, match="port"):
        free_socket(70000)

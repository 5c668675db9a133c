#!/usr/bin/env python3
"""Renders the chart with several sets of values, and checks what comes out.

    .tools/helm-venv/bin/python docker/helm/check.py

Needs scripts/requirements/helm.txt (`make tools`): Helm as a library, and Kubernetes's schemas. Checks each
document against its schema, that names which point at each other meet, that a pod has the time that
its drain needs, and that the alert rules are those of docker/alerts.yml. Prints, as JSON, the commands
and variables of all containers: tests/deployments.rs holds them against the programs.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml
from helm_python import Chart, HelmError, lint

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CHART = HERE / "klinecast"
KUBERNETES = ["1.30", "1.37"]
# Of other projects: no schema is installed for these.
CUSTOM = {"HTTPRoute": "gateway.networking.k8s.io/v1", "PodMonitor": "monitoring.coreos.com/v1",
          "PrometheusRule": "monitoring.coreos.com/v1"}

RULES = [{"name": "btc-5", "symbols": ["BTC-USDT"], "level": "critical",
          "when": {"type": "move", "percent": "5", "window_s": 300}}]
ALL = {
    "route": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["charts.example.com"]},
    "monitoring": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                   "rules": {"enabled": True}, "dashboards": {"enabled": True}},
    "gateway": {"autoscaling": {"enabled": True}, "args": ["--close-ms", "1000"],
                "env": [{"name": "KLINECAST_GATEWAY_HANDSHAKE_RATE", "value": "100"}]},
    "history": {"replicas": 2, "storage": {"className": "fast"}, "args": ["--trades"]},
    "alerts": {"enabled": True, "webhooksSecret": "klinecast-webhooks", "args": ["--alerts-poll-ms", "100"],
               "tokenSecret": "klinecast-alerts", "rules": RULES},
    "bridge": {"enabled": True, "args": ["--bridge-batch-max", "500"],
               "kafka": {"brokers": ["kafka-0.kafka:9093", "kafka-1.kafka:9093"], "tls": True,
                         "authoritySecret": "kafka-authority",
                         "login": {"mechanism": "scram-sha512", "user": "klinecast", "passwordSecret": "kafka-login"}},
               "topics": {"out": {"bars": {"from": "journal.>", "partitions": 12}},
                          "in": {"feed.bars": {"carries": "bars", "exchange": "mysim"}}}},
    "marketdata": {"instruments": "binance:BTC-USDT", "args": ["--takeover-silence-ms", "2000"]},
    "auth": {"mode": "required", "jwksSecret": "klinecast-keys"},
    "allowedOrigins": "https://charts.example.com",
    "bus": {"prefix": "eu.staging"},
    "image": {"repository": "registry.example.com/klinecast", "tag": "0.2.0"},
    "edge": {"realIpFrom": ["10.0.0.0/8", "fd00::/8"], "service": {"annotations": {"a": "b"}}},
    "simulator": {"enabled": True},
    "imagePullSecrets": [{"name": "registry"}],
    "podLabels": {"team": "data"},
    "podAnnotations": {"note": "one"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "priorityClassName": "high",
}
CASES = {
    "default": {},
    "everything": ALL,
    "bare": {"bus": {"servers": ["nats:4222"], "replicas": 1, "passwordsSecret": "", "tlsSecret": ""},
             "history": {"enabled": False}, "edge": {"enabled": False},
             "route": {"enabled": True, "parentRefs": [{"name": "public"}]},
             "networkPolicy": {"enabled": False}, "gateway": {"preStopSeconds": 0, "trustedProxies": []}},
    "without nginx": {"edge": {"enabled": False}, "route": {"enabled": True, "parentRefs": [{"name": "public"}]},
                      "alerts": {"enabled": True, "tokenSecret": "klinecast-alerts", "rules": RULES}},
    "a bridge without a login": {"bridge": {"enabled": True, "kafka": {"brokers": ["kafka:9092"]}}},
    "alerts without a token": {"alerts": {"enabled": True, "rules": RULES}},
    "marketdata alone": {"gateway": {"replicas": 0}, "edge": {"enabled": False}, "history": {"enabled": False}},
    "a slow drain": {"gateway": {"drain": {"noticeMs": 5000, "windowMs": 60000, "deadlineMs": 90500}}},
}
REFUSED = {
    "a name that is no value": {"gateways": {}},
    "a name within a group": {"gateway": {"replica": 2}},
    "a mode that is none": {"auth": {"mode": "perhaps"}},
    "tokens without keys": {"auth": {"mode": "required"}},
    "a route to nowhere": {"route": {"enabled": True}},
    "no server": {"bus": {"servers": []}},
    "a second copy of alerts": {"alerts": {"enabled": True, "replicas": 2}},
    "a rule without a name": {"alerts": {"enabled": True, "rules": [{"symbols": ["*"], "when": {"type": "gap"}}]}},
    "a bridge to nowhere": {"bridge": {"enabled": True}},
    "a login without a password": {"bridge": {"kafka": {"login": {"mechanism": "scram-sha256", "user": "a"}}}},
    "a password in clear text": {"bridge": {"kafka": {"login": {"mechanism": "plain", "user": "a",
                                                                "passwordSecret": "b"}}}},
    "a text for a number": {"gateway": {"replicas": "three"}},
}


def documents(chart, values):
    rendered = chart.render(values=values, name="kc", namespace="market")
    texts = [text for name, text in rendered.items() if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def matches(selector, labels):
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))


class Case:
    def __init__(self, name, documents):
        self.name, self.documents, self.failures = name, documents, []
        self.by_name = {(document["kind"], document["metadata"]["name"]): document for document in documents}
        workloads = [document for document in documents if document["kind"] in ("Deployment", "StatefulSet")]
        self.templates = {document["metadata"]["name"]: document["spec"]["template"] for document in workloads}
        self.require(len(self.by_name) == len(documents), "two documents have one name")
        tags = {template["spec"]["containers"][0]["image"].rsplit(":")[-1] for template in self.templates.values()}
        self.require(len(tags) == 1, f"pods of several versions: {tags}")

    def require(self, holds, what):
        if not holds:
            self.failures.append(f"{self.name}: {what}")

    def kind(self, kind):
        return [document for document in self.documents if document["kind"] == kind]

    def selected(self, selector):
        return [template for template in self.templates.values() if matches(selector, template["metadata"]["labels"])]

    def ports(self, template):
        return {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0].get("ports", [])}

    def schemas(self):
        for document in self.documents:
            what = f"{document['kind']} {document['metadata']['name']}"
            if document["kind"] in CUSTOM:
                self.require(document["apiVersion"] == CUSTOM[document["kind"]], f"{what} has another version")
                continue
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    self.require(False, f"{what} for Kubernetes {version}: {error.message}")

    def names(self):
        for service in self.kind("Service"):
            templates = self.selected({"matchLabels": service["spec"]["selector"]})
            self.require(len(templates) == 1, f"service {service['metadata']['name']} has {len(templates)} workloads")
            for port in service["spec"]["ports"]:
                self.require(all(port["targetPort"] in self.ports(template) for template in templates),
                             f"service {service['metadata']['name']} has no port {port['targetPort']}")
        for budget in self.kind("PodDisruptionBudget"):
            self.require(len(self.selected(budget["spec"]["selector"])) == 1, "a budget for no workload, or for two")
        for workload in self.kind("Deployment") + self.kind("StatefulSet"):
            name = workload["metadata"]["name"]
            self.require(matches(workload["spec"]["selector"], workload["spec"]["template"]["metadata"]["labels"]),
                         f"{name} does not select its own pods")
            if workload["kind"] == "StatefulSet":
                self.require(("Service", workload["spec"]["serviceName"]) in self.by_name, f"{name} has no service")
        for scaler in self.kind("HorizontalPodAutoscaler"):
            target = scaler["spec"]["scaleTargetRef"]
            self.require("replicas" not in self.by_name[target["kind"], target["name"]]["spec"],
                         "an update would undo what the scaler did")
            known = (ROOT / "ws-gateway/src/metrics/help.rs").read_text()
            for metric in scaler["spec"]["metrics"]:
                self.require(f'("{metric["pods"]["metric"]["name"]}"' in known, "the scaler's metric is none of ours")
        for route in self.kind("HTTPRoute"):
            for rule in route["spec"]["rules"]:
                for backend in rule["backendRefs"]:
                    service = self.by_name.get(("Service", backend["name"]), {"spec": {"ports": []}})
                    self.require(any(port["port"] == backend["port"] for port in service["spec"]["ports"]),
                                 f"a route to {backend}, which is not there")
        for monitor in self.kind("PodMonitor"):
            templates = self.selected(monitor["spec"]["selector"])
            self.require(len(templates) >= 3, "a monitor of too few programs")
            for template in templates:
                self.require("admin" in self.ports(template), "a monitored pod without its port")

    def policies(self):
        policies = self.kind("NetworkPolicy")
        if not policies:
            return
        for name, template in self.templates.items():
            covering = [policy for policy in policies
                        if matches(policy["spec"]["podSelector"], template["metadata"]["labels"])]
            self.require(len(covering) == 1, f"{name} has {len(covering)} network policies")
            ports = self.ports(template)
            for policy in covering:
                admitted = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
                self.require(admitted == set(ports), f"{name} has ports {set(ports)}, its policy admits {admitted}")
                for rule in policy["spec"]["ingress"]:
                    is_admin = rule["ports"] == [{"port": "admin"}]
                    self.require(not is_admin or rule.get("from"), f"everybody may order {name} about")

    def pods(self):
        for name, template in self.templates.items():
            spec, container = template["spec"], template["spec"]["containers"][0]
            confined = container["securityContext"]
            self.require(spec["securityContext"]["runAsNonRoot"] and confined["readOnlyRootFilesystem"]
                         and not confined["allowPrivilegeEscalation"] and confined["capabilities"]["drop"] == ["ALL"]
                         and spec["automountServiceAccountToken"] is False, f"{name} may do too much")
            # A service klinecast-gateway would set KLINECAST_GATEWAY_PORT to an address.
            self.require(spec["enableServiceLinks"] is False, f"services set variables of {name}")
            ports = self.ports(template)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                request = container.get(probe, {}).get("httpGet")
                self.require(request is None or request["port"] in ports, f"{name}: {probe} asks no port of the pod")
                admin = (ROOT / "crates/service/src/admin.rs").read_text()
                self.require(request is None or request["port"] != "admin" or f'.route("{request["path"]}"' in admin,
                             f"{name}: {probe} asks for a page that no program has")
            self.require("readinessProbe" in container and "livenessProbe" in container, f"{name} is not watched")
            mounted = {mount["name"] for mount in container.get("volumeMounts") or []}
            volumes = {volume["name"] for volume in spec.get("volumes") or []}
            self.require(mounted - {"data"} == volumes, f"{name} mounts {mounted}, and has {volumes}")
            variables = {variable["name"]: variable.get("value") for variable in container["env"]}
            for variable, port in (("LISTEN", "http"), ("ADMIN_LISTEN", "admin")):
                for key, value in variables.items():
                    if re.fullmatch(rf"KLINECAST_(GATEWAY|MARKETDATA|HISTORY|ALERTS|BRIDGE)_{variable}", key):
                        # What has no port of the pod listens for the pod alone.
                        host, _, number = value.rpartition(":")
                        expected = host == "127.0.0.1" if port not in ports else value == f"0.0.0.0:{ports[port]}"
                        self.require(expected and number, f"{name}: {key} is not the port {port}")
            deadlines = [int(value) for key, value in variables.items() if key.endswith("_DRAIN_DEADLINE_MS")]
            pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            for deadline in deadlines:
                self.require(spec["terminationGracePeriodSeconds"] * 1000 > pause * 1000 + deadline,
                             f"{name} is killed before its drain is over")

    def secrets(self):
        text = json.dumps(self.documents)
        for match in re.findall(r"(?:nats|tls)://([^@\"]*)@", text):
            self.require(match.endswith(":$(NATS_PASSWORD)"), f"a password in a document: {match}")
        for template in self.templates.values():
            for volume in template["spec"].get("volumes") or []:
                if volume.get("secret", {}).get("secretName") == "klinecast-nats-tls":
                    self.require([item["key"] for item in volume["secret"]["items"]] == ["ca.crt"],
                                 "a program gets the key of the servers")

    def rules(self):
        expected = yaml.safe_load((ROOT / "docker/alerts.yml").read_text())
        down = [rule for group in expected["groups"] for rule in group["rules"] if rule["expr"] == "up == 0"]
        for document in self.kind("PrometheusRule"):
            rules = [rule for group in document["spec"]["groups"] for rule in group["rules"]]
            own = [rule for rule in rules if rule["alert"] == down[0]["alert"]]
            self.require(len(down) == 1 and 'namespace="market"' in own[0]["expr"], "an alert for programs of others")
            own[0]["expr"] = down[0]["expr"]
            self.require(document["spec"] == expected, "the alert rules are not those of docker/alerts.yml")
            for job in re.findall(r'job=~"([^"]*)"', json.dumps(rules).replace("\\", "")):
                known = {template["metadata"]["labels"]["app.kubernetes.io/component"]
                         for template in self.templates.values()} | {"exchange-sim", "history", "alerts", "bridge"}
                self.require(set(job.split("|")) <= known | {"broker"}, f"an alert for {job}")
        for document in self.kind("ConfigMap"):
            if not document["metadata"]["name"].endswith("-dashboards"):
                continue
            expected = {file.name: file.read_text() for file in (ROOT / "docker/grafana/dashboards").glob("*.json")}
            self.require({key: value.rstrip() for key, value in document["data"].items()}
                         == {key: value.rstrip() for key, value in expected.items()}, "other dashboards")

    def files(self):
        """A variable that names a file of a mounted map or secret names one that is there."""
        for name, template in self.templates.items():
            container = template["spec"]["containers"][0]
            there = set()
            for mount in container.get("volumeMounts") or []:
                for volume in template["spec"].get("volumes") or []:
                    if volume["name"] != mount["name"]:
                        continue
                    keys = [item["path"] for item in volume.get("secret", {}).get("items", [])]
                    if "configMap" in volume:
                        keys += self.by_name["ConfigMap", volume["configMap"]["name"]]["data"]
                    there |= {f"{mount['mountPath']}/{key}" for key in keys}
            for variable in container["env"]:
                if variable["name"].endswith("_FILE"):
                    self.require(variable["value"] in there, f"{name}: {variable['name']} is not mounted")
        for document in self.kind("ConfigMap"):
            rules = document["data"].get("rules.json")
            self.require(rules is None or json.loads(rules) == {"rules": RULES}, "other rules")

    def edge(self):
        """The container's own script, with the checkout's nginx/ and a name server that is made up."""
        for name, template in self.templates.items():
            container = template["spec"]["containers"][0]
            if container["name"] != "nginx":
                continue
            variables = {variable["name"]: variable["value"] for variable in container["env"]}
            for server, expected in (("10.96.0.10", "10.96.0.10"), ("fd00::a", "[fd00::a]"), ("", None)):
                with tempfile.TemporaryDirectory() as folder:
                    folder = pathlib.Path(folder)
                    (folder / "resolv.conf").write_text(f"search a b\n{f'nameserver {server}' if server else ''}\n")
                    script = container["args"][0].replace("/opt/klinecast-nginx", str(ROOT / "nginx"))
                    script = script.replace("/etc/resolv.conf", str(folder / "resolv.conf"))
                    script = script.replace("/tmp/nginx.conf", str(folder / "nginx.conf"))
                    script = re.sub(r"exec nginx .*", f"cat {folder / 'nginx.conf'}", script)
                    run = subprocess.run([*container["command"], script], env=variables | {"PATH": "/usr/bin:/bin"},
                                         stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
                if expected is None:
                    self.require(run.returncode != 0 and "no name server" in run.stderr, "nginx without a name server")
                    continue
                self.require(run.returncode == 0, f"{name}: {run.stderr}")
                self.require(f"resolver {expected} " in run.stdout, f"{name} asks another name server")
                self.require(f"server {variables['GATEWAYS']} max_fails" in run.stdout, f"{name} has no gateways")
                self.require("least_conn;" in run.stdout and " resolve;" in run.stdout, f"{name} does not spread")
                self.require(len(re.findall(r"set_real_ip_from \S+;", run.stdout)) == len(variables["REAL_IP_FROM"].split()),
                             f"{name} believes others")
                host = variables["GATEWAYS"].split(".")[0]
                self.require(("Service", host) in self.by_name, f"{name}: there is no service {host}")
                # Rules can be changed through nginx only where a token is needed.
                alerts = [program for other, program in self.templates.items() if other.endswith("-alerts")]
                is_public = any("http" in self.ports(program) for program in alerts)
                self.require(is_public == ("ALERTS" in variables), f"{name}: nginx serves no rules, or serves them for nobody")
                self.require(is_public == ("proxy_pass http://alerts;" in run.stdout), f"{name}: the route of the rules")
                if is_public:
                    host, number = variables["ALERTS"].split(".")[0], int(variables["ALERTS"].rpartition(":")[2])
                    service = self.by_name.get(("Service", host), {"spec": {"ports": []}})
                    self.require(number in [port["port"] for port in service["spec"]["ports"]], f"{name}: no port {number}")
                    token = [variable["value"] for variable in alerts[0]["spec"]["containers"][0]["env"]
                             if variable["name"] == "KLINECAST_ALERTS_TOKEN_FILE"]
                    self.require(len(token) == 1, f"{name}: rules without a token")
            pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            self.require(template["spec"]["terminationGracePeriodSeconds"] > pause + int(variables["SHUTDOWN_SECONDS"]),
                         f"{name} is killed before its clients are asked to go")

    def check(self):
        for part in (self.schemas, self.names, self.policies, self.pods, self.secrets, self.rules, self.files, self.edge):
            part()
        return self.failures

    def programs(self):
        for template in self.templates.values():
            container = template["spec"]["containers"][0]
            if container["name"] != "nginx":
                yield {"case": self.name, "program": container["command"][0], "args": container.get("args", []),
                       "variables": {variable["name"]: variable.get("value") for variable in container["env"]}}


def nats_values():
    """What docker/helm/nats.yaml says again of docker/nats.conf and docker/nats.cluster.conf."""
    values = yaml.safe_load((HERE / "nats.yaml").read_text())
    plain = lambda value: str(value).strip('"<> ')
    said = {key: plain(value) for part in (values["config"]["merge"], values["config"]["jetstream"]["merge"])
            for key, value in part.items() if not key.endswith("$include")}
    texts = (ROOT / "docker/nats.conf").read_text() + (ROOT / "docker/nats.cluster.conf").read_text()
    for key, value in said.items():
        found = {plain(text) for text in re.findall(rf"^\s*{key}: (.*)$", texts, re.MULTILINE)}
        if found != {value}:
            yield f"docker/helm/nats.yaml: {key} is {value}, and {found} elsewhere"
    roles = set(re.findall(r"\$(NATS_[A-Z]+_PASSWORD)", (ROOT / "docker/nats.roles.conf").read_text()))
    given = {key for key in values["container"]["env"] if key.startswith("NATS_")}
    if roles != given:
        yield f"docker/helm/nats.yaml gives {given}, and docker/nats.roles.conf needs {roles}"


def main():
    failures, programs = list(nats_values()), []
    report = lint(CHART, strict=True)
    failures += report["errors"]
    failures += [message["error"] for message in report["messages"] if message["severity"] >= 2]
    with Chart.load(CHART) as chart:
        for name, values in CASES.items():
            case = Case(name, documents(chart, values))
            failures += case.check()
            programs += case.programs()
        for name, values in REFUSED.items():
            try:
                chart.validate_schema(values)
                documents(chart, values)
                failures.append(f"{name} is not refused")
            except HelmError:
                pass
    for failure in failures:
        print(failure, file=sys.stderr)
    json.dump(programs, sys.stdout)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()

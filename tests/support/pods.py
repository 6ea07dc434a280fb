"""Workloads of Kubernetes as pods of podman, which finds a Service's pods by its name as a cluster does.

What podman cannot do of it is left out: probes (it would run curl in the containers) and ports (it would take them from the
machine). A claim is a volume of that name, and so is an emptyDir, which gets one of the pod's own. The rest is as it was rendered.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import yaml

from tests.support.manifests import NAMESPACE, WORKLOADS, Resource, Resources
from tests.support.podman import Podman

LEFT_OUT = ("ports", "startupProbe", "livenessProbe", "readinessProbe")


@dataclass(frozen=True)
class Pods:
    """The running pods of a rendering."""

    engine: Podman
    resources: Resources

    def names(self, workload: str) -> list[str]:
        """Return the names of a workload's pods, one a replica."""
        (found,) = self.resources.of(*WORKLOADS, name=workload)
        return [f"{workload}-{number}" for number in range(found["spec"]["replicas"])]

    def containers(self, workload: str) -> list[str]:
        """Return the names of the containers that a workload's service runs in."""
        return [f"{name}-pod-0-{workload}" for name in self.names(workload)]

    def addresses(self, workload: str) -> list[str]:
        """Return the addresses of a workload's pods."""
        pods = [self.engine.inspect(name)["Pod"] for name in self.containers(workload)]
        return [self.engine.address(self.engine.inspect(pod)["InfraContainerID"]) for pod in pods]


@contextmanager
def played(engine: Podman, resources: Resources) -> Iterator[Pods]:
    """Run the pods of every workload, as many as it has replicas, for the time of the context."""
    pods = Pods(engine, resources)
    engine.run("network", "create", NAMESPACE)
    try:
        for workload in resources.of(*WORKLOADS):
            service = workload["metadata"]["name"]
            network = f"{NAMESPACE}:alias={service}.{NAMESPACE}.svc"
            for name in pods.names(service):
                manifest = yaml.safe_dump_all([*resources.of("ConfigMap"), _adapted(workload, name)])
                engine.run("play", "kube", "--network", network, "-", stdin=manifest.encode())
        yield pods
    finally:
        # Removed while they run, they would be stopped one after another.
        engine.attempt("pod", "kill", "--all")
        # What has failed before is what is told of.
        engine.attempt("pod", "rm", "--all", "--force")
        engine.attempt("network", "rm", "--force", NAMESPACE)


def _adapted(workload: Resource, name: str) -> Resource:
    """Return the Deployment of one replica, which takes a replica of a StatefulSet, too."""
    adapted = copy.deepcopy(workload)
    adapted["kind"], adapted["metadata"]["name"], adapted["spec"]["replicas"] = "Deployment", name, 1
    pod = adapted["spec"]["template"]["spec"]
    own = {volume["name"]: f"{name}-{volume['name']}" for volume in pod["volumes"]}
    for volume in pod["volumes"]:
        volume["name"] = own[volume["name"]]
    for container in pod["containers"]:
        for mount in container["volumeMounts"]:
            mount["name"] = own[mount["name"]]
        for key in LEFT_OUT:
            container.pop(key, None)
    return adapted

"""A Ray cluster of two nodes on this machine, one CPU each, of which the second dies when told.

Prints the cluster's address and the process of the second node's raylet; a line to its standard input kills that node
at once, the end of the input ends the cluster. A program of its own: Ray takes over signals of the process it is in.
"""

import sys


def main() -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    print(cluster.address, node.all_processes["raylet"][0].process.pid, flush=True)
    if sys.stdin.readline():
        cluster.remove_node(node, allow_graceful=False)
        print("killed", flush=True)
        sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()

// What a coordinator tells Prometheus of the cluster, as it sees it; each coordinator speaks for itself, and `colo_leads` says which one decides.

import { gauge, type Metric } from '../../shared/core/metrics.js';
import type { Summary } from './summary.js';

export function coordinatorMetrics(summary: Summary): readonly Metric[] {
  const { vms, hosts, problem } = summary;
  return [
    gauge('colo_leads', '1 where this coordinator leads.', summary.leader === summary.answeredBy ? 1 : 0),
    gauge('colo_term', 'The last term that this coordinator has seen.', summary.term),
    gauge(
      'colo_vm_phase',
      '1 for each VM and its phase.',
      vms.map((vm) => ({ labels: { vm: vm.name, phase: vm.phase }, value: 1 })),
    ),
    gauge(
      'colo_host_state',
      '1 for each host and its state: ready, silent, unleased or lost.',
      hosts.map(({ key, state }) => ({ labels: { host: key.host, state }, value: 1 })),
    ),
    gauge(
      'colo_problem',
      '1 while coloctl status shows a problem of the cluster, by its kind.',
      problem === null ? [] : [{ labels: { kind: problem.kind }, value: 1 }],
    ),
    gauge(
      'colo_cluster_certificate_not_after_seconds',
      'When the certificates of the daemons that this coordinator hears expire, in seconds since 1970.',
      summary.certificates.map(({ identity, notAfterMs }) => ({ labels: { identity }, value: notAfterMs / 1_000 })),
    ),
  ];
}

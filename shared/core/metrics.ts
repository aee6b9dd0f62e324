// Figures of a daemon as Prometheus reads them: names, labels and values as data, and the text that they make (exposition format 0.0.4). Instants
// are seconds since 1970 and times are seconds, as is the custom there. Nothing here is measured; whoever knows a figure gives it.

import type { CertificateReport } from './model.js';

export interface Metric {
  /** `colo_` and the rest, with the unit last; a counter ends in `_total`. */
  readonly name: string;
  readonly help: string;
  readonly kind: 'gauge' | 'counter';
  /** None = it is not known, and the name is left out. */
  readonly samples: readonly Sample[];
}

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export function gauge(name: string, help: string, samples: readonly Sample[] | number): Metric {
  return { name, help, kind: 'gauge', samples: typeof samples === 'number' ? [{ labels: {}, value: samples }] : samples };
}

export function counter(name: string, help: string, samples: readonly Sample[]): Metric {
  return { name, help, kind: 'counter', samples };
}

export function exposition(metrics: readonly Metric[]): string {
  return metrics
    .filter((each) => each.samples.length > 0)
    .map(({ name, help, kind, samples }) =>
      [
        `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
        `# TYPE ${name} ${kind}`,
        ...samples.map(({ labels, value }) => `${name}${labelsOf(labels)} ${numberOf(value)}`),
        '',
      ].join('\n'),
    )
    .join('');
}

/** Of certificates that a daemon looks after, first its own, and of those that others are believed by. */
export function certificateMetrics(
  certificates: readonly CertificateReport[],
  authorities: readonly { readonly name: string; readonly notAfterMs: number }[],
): readonly Metric[] {
  const each = (value: (certificate: CertificateReport) => number): readonly Sample[] =>
    certificates.map((certificate) => ({ labels: { identity: certificate.identity }, value: value(certificate) }));
  return [
    gauge(
      'colo_certificate_not_after_seconds',
      'When a certificate of this daemon expires, in seconds since 1970.',
      each(({ notAfterMs }) => notAfterMs / 1_000),
    ),
    gauge(
      'colo_certificate_refused',
      '1 while certificate files are not taken up, because something is wrong with them.',
      each(({ problem }) => (problem === null ? 0 : 1)),
    ),
    gauge(
      'colo_authority_not_after_seconds',
      'When an authority that this daemon believes expires, in seconds since 1970.',
      authorities.map(({ name, notAfterMs }) => ({ labels: { authority: name }, value: notAfterMs / 1_000 })),
    ),
  ];
}

function labelsOf(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(
    ([key, value]) => `${key}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function numberOf(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  return Number.isFinite(value) ? String(value) : value > 0 ? '+Inf' : '-Inf';
}

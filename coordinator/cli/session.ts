// Talks to whichever coordinator answers: endpoints are tried in turn, each with a short deadline, beginning with the one that answered
// last. Every change of coloctl may be repeated without harm, so a lost answer is simply asked for again elsewhere.

import type { Status } from '../../shared/gen/colo/v1/coordinator.js';
import { CoordinatorServiceService as service } from '../../shared/gen/colo/v1/coordinator.js';
import { fail, ok, type Result } from '../../shared/core/result.js';
import type { Line, RpcMethod } from '../../shared/io/rpc/client.js';
import type { RpcError } from '../../shared/io/rpc/errors.js';
import type { CertificateReport } from '../../shared/core/model.js';
import { certificateOf, type Security } from '../../shared/io/rpc/security.js';
import { EXIT } from './exit-codes.js';
import { failure, type CliWorld, type Failure } from './world.js';

export const DEFAULT_ENDPOINTS = '127.0.0.1:7500';
const READ_MS = 1_500;
/** A coordinator that lives answers within milliseconds, and a new process needs some for its first connection. */
const HURRY_MS = 400;
/** The coordinator's own tries at etcd must fit in. */
const CHANGE_MS = 5_000;

export interface Session {
  read<Request, Response>(method: RpcMethod<Request, Response>, request: Request): Promise<Result<Response, Failure>>;
  change<Request, Response>(method: RpcMethod<Request, Response>, request: Request): Promise<Result<Response, Failure>>;
  /** From the coordinator that knows best: one that follows etcd, if any does. */
  status(): Promise<Result<Status, Failure>>;
  /** What the caller shows; null = a lab without certificates. */
  certificate(): CertificateReport | null;
  /** The lines, the one that answered last first. */
  lines(): readonly Line[];
  close(): void;
}

/** `a:7500,b:7500` as a list, or what is wrong with it. */
export function parseEndpoints(text: string): Result<readonly string[], string> {
  const endpoints = text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
  if (endpoints.length === 0) return fail('no endpoint given: write ADDRESS:PORT, several with commas between them');
  const wrong = endpoints.find((each) => !/^(\[[0-9a-f:]+\]|[^\s:]+):\d{1,5}$/i.test(each));
  return wrong === undefined ? ok(endpoints) : fail(`endpoint "${wrong}" is not ADDRESS:PORT`);
}

export function openSession(world: Pick<CliWorld, 'dial'>, endpoints: readonly string[], security: Security): Session {
  let lines: readonly Line[] = endpoints.map((each) => world.dial(each, security));

  async function ask<Request, Response>(
    method: RpcMethod<Request, Response>,
    request: Request,
    deadlineMs: number,
    isQuestion: boolean,
    isGood: (response: Response) => boolean = () => true,
  ): Promise<Result<Response, Failure>> {
    const tried: { readonly address: string; readonly error: RpcError }[] = [];
    let secondBest: Response | null = null;
    // A dark host answers nothing at all: for a question, all are asked in a hurry before any is waited for. A change is made with patience.
    const asked = lines;
    const rounds = deadlineMs > HURRY_MS && isQuestion ? [HURRY_MS, deadlineMs] : [deadlineMs];
    for (const [line, patienceMs] of rounds.flatMap((each) => asked.map((one) => [one, each] as const))) {
      const answer = await line.call(method, request, patienceMs);
      if (answer.ok && isGood(answer.value)) {
        lines = [line, ...lines.filter((each) => each !== line)];
        return answer;
      }
      if (answer.ok) secondBest ??= answer.value;
      else if (answer.error.kind === 'refused' && !isForeign(answer.error)) return fail(refusal(answer.error));
      else if (patienceMs === deadlineMs) tried.push({ address: line.address, error: answer.error });
    }
    return secondBest === null ? fail(unreachable(tried)) : ok(secondBest);
  }

  return {
    read: (method, request) => ask(method, request, READ_MS, true),
    change: (method, request) => ask(method, request, CHANGE_MS, false),
    status: () => ask(service.getStatus, {}, READ_MS, true, (status) => status.problemKind !== 'store'),
    certificate: () => certificateOf(security),
    lines: () => lines,
    close: () => {
      for (const each of lines) each.close();
    },
  };
}

function refusal(error: Extract<RpcError, { kind: 'refused' }>): Failure {
  switch (error.code) {
    case 'PERMISSION_DENIED':
    case 'UNAUTHENTICATED':
      return failure(EXIT.forbidden, `not permitted: ${error.detail}`, error.code);
    case 'UNIMPLEMENTED':
      return failure(
        EXIT.error,
        `this coordinator does not know that command; its version differs from coloctl's: ${error.detail}`,
        error.code,
      );
    default:
      return failure(EXIT.error, error.detail, error.code);
  }
}

function unreachable(tried: readonly { readonly address: string; readonly error: RpcError }[]): Failure {
  const list = tried.map(({ address, error }) => `  ${address}: ${describeLine(error)}`).join('\n');
  const isStore = tried.some(({ error }) => error.detail.startsWith(NO_QUORUM));
  if (isStore)
    return failure(EXIT.unreachable, `no coordinator could do that:\n${list}\nGuests go on. Look at etcd: etcdctl endpoint health`);
  return failure(
    EXIT.unreachable,
    `no coordinator answered:\n${list}\nIs colo-coordinator running there? Name others with --endpoints ADDRESS:PORT,... or COLO_ENDPOINTS.`,
  );
}

/** A web server or a proxy answered, and not a coordinator. */
function isForeign(error: RpcError): boolean {
  return /HTTP status code/i.test(error.detail);
}

const NO_QUORUM = 'no etcd quorum';

/** grpc-js wraps the reason in many words. */
export function describeLine(error: RpcError): string {
  if (error.detail.startsWith(NO_QUORUM)) return error.detail;
  if (/ECONNREFUSED/.test(error.detail)) return 'connection refused: nothing listens there';
  if (/EHOSTUNREACH|ENETUNREACH/.test(error.detail)) return 'no route to that host';
  if (/ENOTFOUND|Name resolution failed/.test(error.detail)) return 'the name cannot be resolved';
  if (error.kind === 'deadline' || /Deadline exceeded|Waiting for LB pick/i.test(error.detail)) return 'no answer in time';
  if (isForeign(error)) return `no coordinator: ${error.detail}`;
  return error.detail;
}

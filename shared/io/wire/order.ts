// Orders and their answers between the model and the wire.

import { epoch, incarnation, term, vmUid } from '../../core/ids.js';
import { ORDER_REFUSALS, type Goal, type Order, type OrderAnswer, type Peer, type Ports } from '../../core/model.js';
import { fail, ok, type Result } from '../../core/result.js';
import type { OrderReply, OrderRequest, Peer as PeerMessage } from '../../gen/colo/v1/agent.js';
import type { Ports as PortsMessage } from '../../gen/colo/v1/common.js';
import { unreachable } from '../../core/assert.js';
import { Reader, whole, type WireProblems } from './reader.js';
import { METHODS, portsToWire, readPorts, readSpec, specToWire } from './spec.js';

type GoalMessage = NonNullable<OrderRequest['goal']>;

export function orderToWire(order: Order): OrderRequest {
  return {
    incarnation: order.incarnation,
    vm: order.vm,
    uid: order.uid,
    term: order.term,
    epoch: order.epoch,
    spec: specToWire(order.spec),
    goal: goalToWire(order.goal),
  };
}

/** For refusals to be told apart from accidents, a wrong order is answered as `invalid` by the agent, with these problems as its detail. */
export function orderFromWire(message: OrderRequest): Result<Order, WireProblems> {
  const reader = new Reader();
  const spec = reader.part('spec', message.spec, readSpec);
  const goal = message.goal === undefined ? undefined : goalFromWire(message.goal, reader);
  if (message.goal === undefined) reader.problem('goal', 'is missing or not known to this version');
  const rest = {
    incarnation: incarnation(reader.filled('incarnation', message.incarnation)),
    vm: reader.filled('vm', message.vm),
    uid: vmUid(reader.filled('uid', message.uid)),
    term: term(message.term),
    epoch: epoch(message.epoch),
  };
  return whole(reader, spec === undefined || goal === undefined ? undefined : { ...rest, spec, goal });
}

function goalToWire(goal: Goal): GoalMessage {
  switch (goal.kind) {
    case 'start-alone':
      return { $case: 'startAlone', value: { born: goal.born, images: [...(goal.images ?? [])], create: goal.create } };
    case 'start-cold-primary':
      return { $case: 'startColdPrimary', value: meeting(goal) };
    case 'start-secondary':
      return { $case: 'startSecondary', value: meeting(goal) };
    case 'protect':
      return { $case: 'protect', value: { ...meeting(goal), method: goal.method } };
    case 'release-primary':
      return { $case: 'releasePrimary', value: { born: goal.born, acceptLoss: goal.acceptLoss } };
    case 'release-secondary':
      return { $case: 'releaseSecondary', value: { born: goal.born, ports: portsToWire(goal.ports) } };
    case 'hold':
      return { $case: 'hold', value: { born: goal.born } };
    case 'checkpoint':
      return { $case: 'checkpoint', value: { born: goal.born } };
    case 'stop':
      return { $case: 'stop', value: { born: goal.born } };
    case 'destroy':
      return { $case: 'destroy', value: {} };
    default:
      return unreachable(goal);
  }
}

function meeting(goal: { born: number; ports: Ports; peer: Peer }): { born: number; ports: PortsMessage; peer: PeerMessage } {
  return { born: goal.born, ports: portsToWire(goal.ports), peer: { host: goal.peer.host, address: goal.peer.address } };
}

function goalFromWire(message: GoalMessage, top: Reader): Goal | undefined {
  const reader = top.at(message.$case);
  switch (message.$case) {
    case 'startAlone': {
      const { images, create } = message.value;
      return { kind: 'start-alone', born: born(message.value, reader), images: images.length === 0 ? null : images, create };
    }
    case 'startColdPrimary':
      return met(message.value, reader, (parts) => ({ kind: 'start-cold-primary', ...parts }));
    case 'startSecondary':
      return met(message.value, reader, (parts) => ({ kind: 'start-secondary', ...parts }));
    case 'protect': {
      const method = reader.word('method', message.value.method, METHODS);
      return met(message.value, reader, (parts) => ({ kind: 'protect', ...parts, method }));
    }
    case 'releasePrimary':
      return { kind: 'release-primary', born: born(message.value, reader), acceptLoss: message.value.acceptLoss };
    case 'releaseSecondary': {
      const ports = reader.part('ports', message.value.ports, readPorts);
      return ports === undefined ? undefined : { kind: 'release-secondary', born: born(message.value, reader), ports };
    }
    case 'hold':
      return { kind: 'hold', born: born(message.value, reader) };
    case 'checkpoint':
      return { kind: 'checkpoint', born: born(message.value, reader) };
    case 'stop':
      return { kind: 'stop', born: born(message.value, reader) };
    case 'destroy':
      return { kind: 'destroy' };
    default:
      return unreachable(message);
  }
}

function born(value: { born: number }, reader: Reader): ReturnType<typeof epoch> {
  if (value.born === 0) reader.problem('born', 'is missing');
  return epoch(value.born);
}

function met(
  value: { born: number; ports?: PortsMessage | undefined; peer?: PeerMessage | undefined },
  reader: Reader,
  make: (parts: { born: ReturnType<typeof epoch>; ports: Ports; peer: Peer }) => Goal,
): Goal | undefined {
  const parts = {
    born: born(value, reader),
    ports: reader.part('ports', value.ports, readPorts),
    peer: reader.part('peer', value.peer, (each, at) => ({
      host: at.filled('host', each.host),
      address: at.filled('address', each.address),
    })),
  };
  return parts.ports === undefined || parts.peer === undefined
    ? undefined
    : make({ born: parts.born, ports: parts.ports, peer: parts.peer });
}

export function answerToWire(answer: OrderAnswer): OrderReply {
  return answer.kind === 'accepted'
    ? { accepted: true, refusal: '', detail: '' }
    : { accepted: false, refusal: answer.refusal, detail: answer.detail };
}

export function answerFromWire(message: OrderReply): Result<OrderAnswer, WireProblems> {
  if (message.accepted) return ok({ kind: 'accepted' });
  const refusal = ORDER_REFUSALS.find((each) => each === message.refusal);
  if (refusal === undefined) return fail([`refusal: unknown word ${JSON.stringify(message.refusal)} (${message.detail})`]);
  return ok({ kind: 'refused', refusal, detail: message.detail });
}

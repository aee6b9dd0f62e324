// The allow list against the services that there are, and what a certificate may say.

import { service as healthService } from 'grpc-health-check';
import { describe, expect, it } from 'vitest';
import { ACCESS, commonName, identityOf, roleUri, ROLES, whyForbidden } from '../../../shared/core/access.js';
import { AgentServiceService } from '../../../shared/gen/colo/v1/agent.js';
import { CoordinatorServiceService } from '../../../shared/gen/colo/v1/coordinator.js';
import { urisOf } from '../../../shared/io/tls/material.js';

const REFLECTION = ['v1', 'v1alpha'].map((version) => `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`);
const methods = [
  ...[AgentServiceService, CoordinatorServiceService].flatMap((each) => Object.values(each).map(({ path }) => path)),
  ...Object.values(healthService).map(({ path }) => path),
  ...REFLECTION,
];

describe('the allow list', () => {
  it('has every method of every service -> and no other: a new one must be decided', () => {
    expect(Object.keys(ACCESS).sort()).toEqual([...methods].sort());
  });

  it('of agents -> is for coordinators alone', () => {
    for (const { path } of Object.values(AgentServiceService)) expect(ACCESS[path]).toEqual(['coordinator']);
  });

  it('for viewers -> holds nothing that changes anything', () => {
    const forViewers = methods.filter((path) => ACCESS[path]?.includes('viewer') === true && path.startsWith('/colo.'));
    expect(forViewers.every((path) => /\/(Get|List|Watch|Explain)[A-Z]/.test(path))).toBe(true);
  });

  it('asked for a method that it does not have -> nobody', () => {
    const caller = { kind: 'certified', identity: { role: 'operator', name: 'alice' } } as const;
    expect(whyForbidden(caller, '/colo.v1.CoordinatorService/Format')).toBe('Format may be called by nobody');
    expect(whyForbidden({ kind: 'uncertified', address: '::1' }, '/colo.v1.CoordinatorService/Format')).not.toBeNull();
  });
});

describe('the URIs of a certificate', () => {
  it.each(ROLES)('for a %s -> are read back', (role) => {
    const identity = { role, name: 'host-1' };
    expect(identityOf(['https://example.org/', roleUri(identity)])).toEqual({ ok: true, value: identity });
  });

  it.each([
    [[]],
    [['https://colo/role/agent/a']],
    [['colo://role/admin/a']],
    [['colo://role/agent/']],
    [['colo://role/agent/A']],
    [['colo://role/agent/a/b']],
    [['colo://role/agent/a.b']],
    [['colo://role/agent/a\n']],
    [['COLO://role/agent/a']],
    [['colo://role/agent/a', 'colo://role/operator/a']],
  ])('%j -> no identity', (uris) => {
    expect(identityOf(uris)).toMatchObject({ ok: false });
  });

  it('common names -> are never the same for two identities', () => {
    expect(commonName({ role: 'agent', name: 'a' })).toBe('agent.a');
    const names = ROLES.flatMap((role) => ['a', 'a-b', 'agent'].map((name) => commonName({ role, name })));
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('alternative names as Node prints them', () => {
  it.each([
    ['URI:colo://role/agent/a, DNS:b, IP Address:10.0.0.1', ['colo://role/agent/a']],
    // A name with a comma in it is printed as a JSON string, and is one name.
    ['DNS:"b, URI:colo://role/operator/x, c", URI:colo://role/viewer/v', ['colo://role/viewer/v']],
    ['DNS:"b\\", URI:colo://role/operator/x, \\"c", URI:colo://role/viewer/v', ['colo://role/viewer/v']],
    ['DNS:"unended, URI:colo://role/operator/x', []],
    [undefined, []],
  ])('%s -> %j', (text, uris) => {
    expect(urisOf(text)).toEqual(uris);
  });
});

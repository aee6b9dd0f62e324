// Randomness of the operating system as a port.

import { randomBytes } from 'node:crypto';
import type { Random } from '../ports.js';

export function systemRandom(): Random {
  return {
    fraction: () => Math.random(),
    id: () => randomBytes(16).toString('hex'),
  };
}

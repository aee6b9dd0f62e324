// Silence on virtual time: judged at its limit, never because we ourselves were asleep.

import { describe, expect, it } from 'vitest';
import { watchSilence } from '../../../shared/silence.js';
import { fakeClock } from '../../fakes/clock.js';

function stage(afterMs = 900) {
  const clock = fakeClock();
  const told: number[] = [];
  const watch = watchSilence(clock, afterMs, (ms) => told.push(ms));
  return { clock, told, watch };
}

describe('a silence watch', () => {
  it('something heard all the time -> nothing is told', async () => {
    const { clock, told, watch } = stage();
    for (let index = 0; index < 20; index += 1) {
      await clock.advance(800);
      watch.heard();
    }
    expect(told).toEqual([]);
  });

  it('nothing heard -> told once, right behind the limit, whenever the last word came', async () => {
    const { clock, told, watch } = stage();
    await clock.advance(77);
    watch.heard();
    await clock.advance(900);
    expect(told).toEqual([]);
    await clock.advance(3);
    expect(told).toHaveLength(1);
    await clock.advance(10_000);
    expect(told).toHaveLength(1);
  });

  it('heard again and silent again -> told again', async () => {
    const { clock, told, watch } = stage();
    await clock.advance(1_100);
    watch.heard();
    await clock.advance(1_100);
    expect(told).toHaveLength(2);
  });

  it('our own process was paused for long -> its pause does not count, a silence that goes on does', async () => {
    const { clock, told } = stage();
    await clock.advance(300);
    clock.pause(10_000);
    await clock.advance(300);
    expect(told).toEqual([]);
    await clock.advance(600);
    expect(told).toHaveLength(1);
  });

  it('our own ticks are late for ever -> a silence is judged all the same, only later', async () => {
    const { clock, told } = stage();
    for (let index = 0; index < 20 && told.length === 0; index += 1) {
      clock.pause(300);
      await clock.advance(150);
    }
    expect(told).toHaveLength(1);
  });

  it('stopped -> nothing is told', async () => {
    const { clock, told, watch } = stage();
    watch.stop();
    await clock.advance(10_000);
    expect(told).toEqual([]);
  });
});

// Preloaded into a daemon (`node --import`): from here on a few of its modules are the watched ones.

import { register } from 'node:module';

register('./hooks.js', import.meta.url);

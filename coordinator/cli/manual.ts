// The manual page of coloctl (troff, section 1), made from the very commands that it has, so that page and program never differ.

import type { Command, Option } from 'commander';
import { EXIT_CODES_HELP } from './exit-codes.js';

const SHORT = /^ {2}(\d+) +(.*)$/;

export function manualOf(program: Command, version: string): string {
  return [
    `.TH COLOCTL 1 "" "colo-ha ${version}" "colo-ha"`,
    '.SH NAME',
    'coloctl \\- looks after virtual machines that survive the death of their host',
    '.SH SYNOPSIS',
    '.B coloctl',
    '.RI [ OPTIONS ] " COMMAND " [ ARGUMENTS ]',
    '.SH DESCRIPTION',
    escaped(program.description()),
    'It asks any coordinator of the cluster, over gRPC.',
    '.SH OPTIONS',
    ...program.options.flatMap(optionLines),
    '.SH COMMANDS',
    ...program.commands.flatMap((each) => commandLines(each, '')),
    '.SH EXIT STATUS',
    ...EXIT_CODES_HELP.split('\n').flatMap((line) => {
      const found = SHORT.exec(line);
      return found === null ? [] : ['.TP', `.B ${found[1]}`, escaped(found[2] ?? '')];
    }),
    '.SH ENVIRONMENT',
    ...['.TP', '.B COLO_ENDPOINTS', 'The coordinators, as ADDRESS:PORT with commas between them.'],
    ...['.TP', '.B NO_COLOR', 'Any value: no colours.'],
    '.SH SEE ALSO',
    '.BR colo-agent (8),',
    '.BR colo-coordinator (8),',
    '.I /usr/share/doc/colo-ha/OPERATIONS.md',
    '',
  ].join('\n');
}

function commandLines(command: Command, before: string): readonly string[] {
  const name = `${before}${command.name()}`;
  if (command.commands.length > 0) return command.commands.flatMap((each) => commandLines(each, `${name} `));
  const words = command.registeredArguments.map((each) => {
    const shown = each.variadic ? `${each.name()}...` : each.name();
    return each.required ? `<${shown}>` : `[${shown}]`;
  });
  return [
    '.TP',
    `.B ${escaped([name, ...words].join(' '))}`,
    escaped(`${command.description()}.`),
    ...(command.options.length === 0 ? [] : ['.RS', ...command.options.flatMap(optionLines), '.RE']),
  ];
}

function optionLines(option: Option): readonly string[] {
  const choices = option.argChoices === undefined ? '' : `one of ${option.argChoices.join(', ')}`;
  const said = [option.description, choices].filter((each) => each !== '').join('; ');
  return ['.TP', `.B ${escaped(option.flags)}`, said === '' ? '\\&' : escaped(said)];
}

/** A hyphen that is typed is `\-`; a line must not begin with a dot or an apostrophe. */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(?=[.'])/, '\\&');
}

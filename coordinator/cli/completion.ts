// Completion for shells, made from the very commands that coloctl has; names of VMs are asked of the cluster.

import type { Command } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

export function completionFor(shell: Shell, program: Command): string {
  const top = wordsOf(program);
  const groups = program.commands.filter((each) => each.commands.length > 0);
  return shell === 'fish' ? fish(program) : bash(top, groups, shell);
}

function wordsOf(command: Command): readonly string[] {
  return [
    ...command.commands.map((each) => each.name()),
    ...command.options.flatMap((each) => (each.long === undefined ? [] : [each.long])),
  ];
}

function bash(top: readonly string[], groups: readonly Command[], shell: Shell): string {
  const cases = groups.map((group) => `    ${group.name()}) words="${wordsOf(group).join(' ')}" ;;`).join('\n');
  return `${shell === 'zsh' ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''}# coloctl completion: put this into a file that your shell reads, for example
#   coloctl completion ${shell} > /etc/bash_completion.d/coloctl
_coloctl() {
  local words="${top.join(' ')}" current="\${COMP_WORDS[COMP_CWORD]}"
  if [ "$COMP_CWORD" -ge 3 ] || [ "\${COMP_WORDS[1]}" = history ]; then
    words="$(coloctl vm list -o name 2>/dev/null) --wait --timeout --dry-run --output"
  elif [ "$COMP_CWORD" -eq 2 ]; then
    case "\${COMP_WORDS[1]}" in
${cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _coloctl coloctl
`;
}

function fish(program: Command): string {
  const lines = program.commands.map(
    (each) => `complete -c coloctl -n __fish_use_subcommand -f -a ${each.name()} -d '${each.description().replaceAll("'", '')}'`,
  );
  for (const group of program.commands.filter((each) => each.commands.length > 0)) {
    const names = group.commands.map((each) => each.name()).join(' ');
    lines.push(
      `complete -c coloctl -n '__fish_seen_subcommand_from ${group.name()}; and not __fish_seen_subcommand_from ${names}' -f -a '${names}'`,
    );
    lines.push(`complete -c coloctl -n '__fish_seen_subcommand_from ${names}' -f -a '(coloctl vm list -o name 2>/dev/null)'`);
  }
  return `# coloctl completion: coloctl completion fish > ~/.config/fish/completions/coloctl.fish\n${lines.join('\n')}\n`;
}

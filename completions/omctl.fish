# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_omctl_global_optspecs
    string join \n json C/project= yes q/quiet h/help V/version
end

function __fish_omctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_omctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_omctl_using_subcommand
    set -l cmd (__fish_omctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c omctl -n "__fish_omctl_needs_command" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_needs_command" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_needs_command" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_needs_command" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_needs_command" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_needs_command" -s V -l version -d 'Print version'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "new" -d 'Make a project, or a channel of a project'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "check" -d 'Find every mistake in the project\'s files'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "completions" -d 'Print a script that completes commands in your shell'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "version" -d 'Print the version'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel" -l dry-run -d 'Show what would be written, and write nothing'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel" -l force -d 'Overwrite files that are there with another content'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel" -a "project" -d 'Make a project in a new folder'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel" -a "channel" -d 'Write channels from the live tables of a database'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -l dry-run -d 'Show what would be written, and write nothing'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -l force -d 'Overwrite files that are there with another content'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l from -d 'The database, and the table: sqlite:FILE#TABLE' -r
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l scope -d 'Who sees a record: public, or FIELD=account.email; else nobody' -r
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l write -d 'What any account may do: create,update,delete; else nothing' -r -f -a "create\t''
update\t''
delete\t''"
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l all -d 'All tables that have a key'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l dry-run -d 'Show what would be written, and write nothing'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l force -d 'Overwrite files that are there with another content'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand check" -l env -d 'Whose overlay of `env:` to check with' -r
complete -c omctl -n "__fish_omctl_using_subcommand check" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand check" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand check" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand check" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand check" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand completions" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand completions" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand completions" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand completions" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand completions" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand version" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand version" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand version" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand version" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand version" -s h -l help -d 'Print help'

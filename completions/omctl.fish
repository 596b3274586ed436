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
complete -c omctl -n "__fish_omctl_needs_command" -f -a "new" -d 'Make a project, or a channel or scenario of a project'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "check" -d 'Find every mistake in the project\'s files'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "serve" -d 'Serve the project to devices'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "account" -d 'Make, change and list accounts'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "channel" -d 'Look at channels and their records, and prepare their backends'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "device" -d 'Look at devices, activate and revoke them, simulate fleets of them'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "sync" -d 'Look at how sync stands, and at what became of devices\' writes'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "logs" -d 'Show the running server\'s newest log events; -f goes on with what comes'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "db" -d 'Save, restore, seed and reset the server\'s store: accounts, devices, state log'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "backup" -d 'Save the store in a file of your choice and examine it; a server may be running'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "config" -d 'Look at the settings that are in force'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "doctor" -d 'Look at the project and this machine for what would keep a server from working'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "test" -d 'Run the project\'s scenarios against fresh copies of its state, and prove what they expect'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "explain" -d 'Explain a code that a command, a receipt or the server gave'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "template" -d 'Change what `omctl new` writes'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "completions" -d 'Print a script that completes commands in your shell'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "man" -d 'Print the manual page, or write those of all commands into a folder'
complete -c omctl -n "__fish_omctl_needs_command" -f -a "version" -d 'Print the version; with --json also what it speaks and reads'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -l set -d 'A variable of the template' -r
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -l template -d 'Take templates from this folder; `omctl template eject` makes one' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -l dry-run -d 'Show what would be written, and write nothing'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -l force -d 'Overwrite files that are there with another content'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -a "project" -d 'Make a project in a new folder'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -a "channel" -d 'Write a channel from scratch, or channels from the live tables of a database'
complete -c omctl -n "__fish_omctl_using_subcommand new; and not __fish_seen_subcommand_from project channel scenario" -a "scenario" -d 'Write a scenario for a fleet of simulated devices'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -l set -d 'A variable of the template' -r
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -l template -d 'Take templates from this folder; `omctl template eject` makes one' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -l dry-run -d 'Show what would be written, and write nothing'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -l force -d 'Overwrite files that are there with another content'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from project" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l field -d 'A field of a channel from scratch: NAME:TYPE, then `required`, `default=…`, a ref\'s channel, an enum\'s words' -r
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l backend -d 'Where the records of a channel from scratch live; else OpenMobster\'s own store' -r
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l from -d 'The database, and the table: sqlite:FILE#TABLE, or BACKEND#TABLE of the project' -r
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l key -d 'The columns that tell rows apart, where the table does not say: of a view, or of a table without a key' -r
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l scope -d 'Who sees a record: public, FIELD=account.email, or via:REFERENCE; else nobody' -r
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l write -d 'What any account may do: create,update,delete; else nothing' -r -f -a "create\t''
update\t''
delete\t''"
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l template -d 'Take templates from this folder; `omctl template eject` makes one' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l all -d 'All tables that have a key'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l dry-run -d 'Show what would be written, and write nothing'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l force -d 'Overwrite files that are there with another content'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from channel" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from scenario" -l template -d 'Take templates from this folder; `omctl template eject` makes one' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from scenario" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from scenario" -l dry-run -d 'Show what would be written, and write nothing'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from scenario" -l force -d 'Overwrite files that are there with another content'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from scenario" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from scenario" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from scenario" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand new; and __fish_seen_subcommand_from scenario" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand check" -l env -d 'Whose overlay of `env:` to check with' -r
complete -c omctl -n "__fish_omctl_using_subcommand check" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand check" -l write-schemas -d 'Write the JSON Schemas that editors read, also where no file of the project asks for them'
complete -c omctl -n "__fish_omctl_using_subcommand check" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand check" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand check" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand check" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand serve" -l addr -d 'Where to listen' -r
complete -c omctl -n "__fish_omctl_using_subcommand serve" -l data-dir -d 'Where to keep accounts, devices and the state log' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand serve" -l env -d 'Whose overlay of `env:` to use' -r
complete -c omctl -n "__fish_omctl_using_subcommand serve" -l backend-file -d 'Use this file in place of a SQLite backend\'s own, for example a copy' -r
complete -c omctl -n "__fish_omctl_using_subcommand serve" -l log -d 'What to log, as `warn,omctl=debug`' -r
complete -c omctl -n "__fish_omctl_using_subcommand serve" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand serve" -l no-watch -d 'Do not make changes of the project\'s files live'
complete -c omctl -n "__fish_omctl_using_subcommand serve" -l lan -d 'Let phones on this network in: TLS with a certificate of its own, whose pin is printed'
complete -c omctl -n "__fish_omctl_using_subcommand serve" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand serve" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand serve" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand serve" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -f -a "add" -d 'Make an account'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -f -a "list" -d 'List accounts'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -f -a "show" -d 'Show one account with its devices'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -f -a "set" -d 'Change an account\'s role and claims; its connected devices see the difference at once'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -f -a "disable" -d 'Let an account do nothing until it is enabled again; its connected devices are out within 5 seconds'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -f -a "enable" -d 'Let a disabled account act again, with the devices it has'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -f -a "passwd" -d 'Give an account a password, or take it away; its devices stay as they are'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -f -a "remove" -d 'Remove an account for good and revoke its devices'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -f -a "import" -d 'Add and change accounts from a CSV file: all of them, or none'
complete -c omctl -n "__fish_omctl_using_subcommand account; and not __fish_seen_subcommand_from add list show set disable enable passwd remove import code" -f -a "code" -d 'Make a code that activates one device within ten minutes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -l role -d 'Its role, as `write:` and `scope:` of channels name it' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -l claim -d 'A claim for scope rules: `name=text`, or `name=[text,text]`; repeatable' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -l password-stdin -d 'Read a password from stdin; without one its devices are activated by codes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from list" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from list" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from list" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from list" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from list" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from list" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from show" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from show" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from show" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from show" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from show" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from show" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -l role -d 'Its role from now on' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -l claim -d 'A claim that it has from now on: `name=text`, or `name=[text,text]`; repeatable' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -l remove-claim -d 'A claim that is taken away; repeatable' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -l no-role -d 'Take its role away'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from disable" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from disable" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from disable" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from disable" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from disable" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from disable" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from disable" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from disable" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from enable" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from enable" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from enable" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from enable" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from enable" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from enable" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from enable" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from enable" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -l password-stdin -d 'Read it from stdin'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -l generate -d 'Make one and show it, this once'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -l none -d 'Take it away: devices are activated by codes alone'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from passwd" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from remove" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from remove" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from remove" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from remove" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from remove" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from remove" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from remove" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from import" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from import" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from import" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from import" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from import" -l dry-run -d 'Show what would be added and changed, and change nothing'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from import" -l codes -d 'Make an activation code for each account that is added; codes end after ten minutes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from import" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from import" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from import" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from code" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from code" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from code" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from code" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from code" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from code" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from code" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand account; and __fish_seen_subcommand_from code" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -f -a "list" -d 'List the channels that a server has live'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -f -a "show" -d 'Show one live channel with its fields'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -f -a "read" -d 'Show records of a channel, as the backend has them now'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -f -a "create" -d 'Make a record in the name of an account'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -f -a "update" -d 'Change fields of a record in the name of an account'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -f -a "delete" -d 'Delete a record in the name of an account, on every device'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -f -a "probe" -d 'Look at a channel\'s table, by reading only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -f -a "diff" -d 'Show what a channel\'s file says otherwise than its live table'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -f -a "install" -d 'Create what exactly-once delivery needs in a channel\'s database'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and not __fish_seen_subcommand_from list show read create update delete probe diff install resume" -f -a "resume" -d 'Let deletes through that are held because they are suspiciously many'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from list" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from list" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from list" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from list" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from list" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from list" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from show" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from show" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from show" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from show" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from show" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from show" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -l as -d 'Only what this account may see' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -l where -d 'Only records whose field holds exactly this text; `FIELD=` finds those without a value; repeatable' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -l limit -d 'At most so many' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -l all -d 'All of them'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from read" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -l set -d 'A field\'s new value; `FIELD=` empties it; repeatable' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -l data -d 'A JSON object of values: `-` reads stdin, `@FILE` a file' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -l as -d 'In whose name: this account\'s role and scopes decide' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -l key -d 'Names this write: the same command with the same key is done once and has the same receipt' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -l set -d 'A field\'s new value; `FIELD=` empties it; repeatable' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -l data -d 'A JSON object of values: `-` reads stdin, `@FILE` a file' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -l as -d 'In whose name: this account\'s role and scopes decide' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -l key -d 'Names this write: the same command with the same key is done once and has the same receipt' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from update" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from delete" -l as -d 'In whose name: this account\'s role and scopes decide' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from delete" -l key -d 'Names this write: the same command with the same key is done once and has the same receipt' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from delete" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from delete" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from delete" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from delete" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from delete" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from delete" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from delete" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from probe" -l env -d 'Whose overlay of `env:` to use' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from probe" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from probe" -l all -d 'Every channel'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from probe" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from probe" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from probe" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from probe" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from diff" -l env -d 'Whose overlay of `env:` to use' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from diff" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from diff" -l all -d 'Every channel'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from diff" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from diff" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from diff" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from install" -l env -d 'Whose overlay of `env:` to use' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from install" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from install" -l all -d 'Every channel'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from install" -l print-sql -d 'Print the statements and run none'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from install" -l remove -d 'Remove it again'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from install" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from install" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from install" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from resume" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from resume" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from resume" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from resume" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from resume" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from resume" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from resume" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand channel; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -f -a "simulate" -d 'Run a fleet of real device clients against the running server and prove that they converge'
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -f -a "replay" -d 'Play the tape of a fleet again: the same writes and faults at the same times, then the same verdict'
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -f -a "list" -d 'List devices, the latest seen first'
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -f -a "show" -d 'Show one device: its account, its outbox as the server knows it, what waits'
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -f -a "activate" -d 'Make a file on this machine a device of an account, and sync it'
complete -c omctl -n "__fish_omctl_using_subcommand device; and not __fish_seen_subcommand_from simulate replay list show activate revoke" -f -a "revoke" -d 'Take a device out of service for good; a connected one is out within 5 seconds'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l devices -d 'How many devices' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l account -d 'Whose devices they are, in turn; without it all enabled accounts' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l duration -d 'For how long they write' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l offline -d 'For how long each of them is offline in that time' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l network -d 'What their connections are like' -r -f -a "wifi\t''
4g\t''
3g\t''
edge\t''
satellite\t''
lossy\t''
captive-portal\t''
airplane\t''"
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l rate -d 'Writes per second and device; 0: they only watch' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l seed -d 'Repeats the same choices' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l processes -d 'Make so many of the devices processes of their own: then they are really killed' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l keep -d 'Keep the devices\' files in this folder' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l capture -d 'Keep everything that the server sends to each device, byte for byte, in this folder' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l record -d 'Write everything that happens to this file, for `omctl device replay`' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l html -d 'Write the report as a page with plots to this file' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l spawn -d 'Start a server for the fleet, on an empty store of its own, and end it afterwards'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l allow-writes -d 'Write to backends that are not the server\'s own'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l cleanup -d 'Afterwards remove what the fleet made, and put back what it changed'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from simulate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l processes -d 'Make so many of the devices processes of their own: then they are really killed' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l keep -d 'Keep the devices\' files in this folder' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l capture -d 'Keep everything that the server sends to each device, byte for byte, in this folder' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l record -d 'Write everything that happens to this file, for `omctl device replay`' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l html -d 'Write the report as a page with plots to this file' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l spawn -d 'Start a server for the fleet, on an empty store of its own, and end it afterwards'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l allow-writes -d 'Write to backends that are not the server\'s own'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l cleanup -d 'Afterwards remove what the fleet made, and put back what it changed'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from list" -l account -d 'Of this account only' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from list" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from list" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from list" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from list" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from list" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from list" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from show" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from show" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from show" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from show" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from show" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from show" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -l account -d 'Whom the device acts for' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -l store -d 'The device\'s file' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -l name -d 'What the device is called; else as its file' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -l verify -d 'Look at every row first, and fetch again what is not as the server sent it'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from activate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from revoke" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from revoke" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from revoke" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from revoke" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from revoke" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from revoke" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from revoke" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand device; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and not __fish_seen_subcommand_from inspect trace rejected conflicts" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand sync; and not __fish_seen_subcommand_from inspect trace rejected conflicts" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and not __fish_seen_subcommand_from inspect trace rejected conflicts" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and not __fish_seen_subcommand_from inspect trace rejected conflicts" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and not __fish_seen_subcommand_from inspect trace rejected conflicts" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and not __fish_seen_subcommand_from inspect trace rejected conflicts" -f -a "inspect" -d 'Show how channels and devices stand: records, what waits, what is held or paused'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and not __fish_seen_subcommand_from inspect trace rejected conflicts" -f -a "trace" -d 'Tell what became of one mutation or record, in the order of time; --json shows values'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and not __fish_seen_subcommand_from inspect trace rejected conflicts" -f -a "rejected" -d 'List mutations that were not applied, the newest first; --json shows their values'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and not __fish_seen_subcommand_from inspect trace rejected conflicts" -f -a "conflicts" -d 'List mutations of which a value lost, the newest first; --json shows their values'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from inspect" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from inspect" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from inspect" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from inspect" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from inspect" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from inspect" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from inspect" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from trace" -l channel -d 'Records of this channel only' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from trace" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from trace" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from trace" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from trace" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from trace" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from trace" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from trace" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from trace" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -l channel -d 'Of this channel only' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -l account -d 'Of this account\'s devices only' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -l limit -d 'At most so many' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from rejected" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -l channel -d 'Of this channel only' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -l account -d 'Of this account\'s devices only' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -l limit -d 'At most so many' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand sync; and __fish_seen_subcommand_from conflicts" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand logs" -l level -d 'Only this level and what is more serious' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c omctl -n "__fish_omctl_using_subcommand logs" -s n -l last -d 'Begin with at most so many recent ones' -r
complete -c omctl -n "__fish_omctl_using_subcommand logs" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand logs" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand logs" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand logs" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand logs" -s f -l follow -d 'Go on with what comes, until interrupted'
complete -c omctl -n "__fish_omctl_using_subcommand logs" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand logs" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand logs" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand db; and not __fish_seen_subcommand_from snapshot restore list seed reset" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and not __fish_seen_subcommand_from snapshot restore list seed reset" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand db; and not __fish_seen_subcommand_from snapshot restore list seed reset" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand db; and not __fish_seen_subcommand_from snapshot restore list seed reset" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand db; and not __fish_seen_subcommand_from snapshot restore list seed reset" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand db; and not __fish_seen_subcommand_from snapshot restore list seed reset" -f -a "snapshot" -d 'Save the store in one file; a server may be running'
complete -c omctl -n "__fish_omctl_using_subcommand db; and not __fish_seen_subcommand_from snapshot restore list seed reset" -f -a "restore" -d 'Put a snapshot in the store\'s place; the server must be stopped'
complete -c omctl -n "__fish_omctl_using_subcommand db; and not __fish_seen_subcommand_from snapshot restore list seed reset" -f -a "list" -d 'List the snapshots of the data directory'
complete -c omctl -n "__fish_omctl_using_subcommand db; and not __fish_seen_subcommand_from snapshot restore list seed reset" -f -a "seed" -d 'Put the project\'s seed files into the running server\'s store again'
complete -c omctl -n "__fish_omctl_using_subcommand db; and not __fish_seen_subcommand_from snapshot restore list seed reset" -f -a "reset" -d 'Delete the store, so that the next start begins a fresh one; the server must be stopped'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from snapshot" -l data-dir -d 'The data directory' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from snapshot" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from snapshot" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from snapshot" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from snapshot" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from snapshot" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from snapshot" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from restore" -l data-dir -d 'The data directory' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from restore" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from restore" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from restore" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from restore" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from restore" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from restore" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from list" -l data-dir -d 'The data directory' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from list" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from list" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from list" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from list" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from seed" -l server -d 'A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN' -r
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from seed" -l data-dir -d 'The data directory of the server on this machine' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from seed" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from seed" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from seed" -l force -d 'Overwrite records that look otherwise'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from seed" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from seed" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from seed" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from seed" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from reset" -l data-dir -d 'The data directory' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from reset" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from reset" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from reset" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from reset" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from reset" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand db; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand backup" -l data-dir -d 'The data directory' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand backup" -l env -d 'Whose overlay of `env:` names the data directory' -r
complete -c omctl -n "__fish_omctl_using_subcommand backup" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand backup" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand backup" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand backup" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand backup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand config; and not __fish_seen_subcommand_from show" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand config; and not __fish_seen_subcommand_from show" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand config; and not __fish_seen_subcommand_from show" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand config; and not __fish_seen_subcommand_from show" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand config; and not __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand config; and not __fish_seen_subcommand_from show" -f -a "show" -d 'Show every setting, as `omctl serve` with the same flags would take it'
complete -c omctl -n "__fish_omctl_using_subcommand config; and __fish_seen_subcommand_from show" -l addr -d 'As for `omctl serve`' -r
complete -c omctl -n "__fish_omctl_using_subcommand config; and __fish_seen_subcommand_from show" -l data-dir -d 'As for `omctl serve`' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand config; and __fish_seen_subcommand_from show" -l env -d 'Whose overlay of `env:` to use' -r
complete -c omctl -n "__fish_omctl_using_subcommand config; and __fish_seen_subcommand_from show" -l log -d 'As for `omctl serve`' -r
complete -c omctl -n "__fish_omctl_using_subcommand config; and __fish_seen_subcommand_from show" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand config; and __fish_seen_subcommand_from show" -l origin -d 'Also say where each value comes from: default, a line of the project file, a variable, a flag'
complete -c omctl -n "__fish_omctl_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand config; and __fish_seen_subcommand_from show" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand config; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand doctor" -l env -d 'Whose overlay of `env:` to use' -r
complete -c omctl -n "__fish_omctl_using_subcommand doctor" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand doctor" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand doctor" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand doctor" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand test" -l junit -d 'Write the results in JUnit\'s XML to this file' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand test" -l seed -d 'Repeats the same choices' -r
complete -c omctl -n "__fish_omctl_using_subcommand test" -l processes -d 'Make so many of the devices processes of their own: then they are really killed' -r
complete -c omctl -n "__fish_omctl_using_subcommand test" -l keep -d 'Keep the tapes and the devices\' files in this folder, one folder for each scenario' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand test" -l env -d 'Whose overlay of `env:` to use' -r
complete -c omctl -n "__fish_omctl_using_subcommand test" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand test" -l fresh -d 'Begin with an empty store in place of a copy of the project\'s'
complete -c omctl -n "__fish_omctl_using_subcommand test" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand test" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand test" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c omctl -n "__fish_omctl_using_subcommand explain" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand explain" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand explain" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand explain" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand explain" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand template; and not __fish_seen_subcommand_from eject" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand template; and not __fish_seen_subcommand_from eject" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand template; and not __fish_seen_subcommand_from eject" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand template; and not __fish_seen_subcommand_from eject" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand template; and not __fish_seen_subcommand_from eject" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand template; and not __fish_seen_subcommand_from eject" -f -a "eject" -d 'Write the built-in templates to a folder, to be edited and used with --template'
complete -c omctl -n "__fish_omctl_using_subcommand template; and __fish_seen_subcommand_from eject" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand template; and __fish_seen_subcommand_from eject" -l dry-run -d 'Show what would be written, and write nothing'
complete -c omctl -n "__fish_omctl_using_subcommand template; and __fish_seen_subcommand_from eject" -l force -d 'Overwrite files that are there with another content'
complete -c omctl -n "__fish_omctl_using_subcommand template; and __fish_seen_subcommand_from eject" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand template; and __fish_seen_subcommand_from eject" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand template; and __fish_seen_subcommand_from eject" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand template; and __fish_seen_subcommand_from eject" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand completions" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand completions" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand completions" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand completions" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand completions" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand man" -l dir -d 'Write a page for each command into this folder' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand man" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand man" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand man" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand man" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand man" -s h -l help -d 'Print help'
complete -c omctl -n "__fish_omctl_using_subcommand version" -s C -l project -d 'The project folder; else the nearest one upwards from here' -r -F
complete -c omctl -n "__fish_omctl_using_subcommand version" -l json -d 'Print JSON for scripts; implies no questions'
complete -c omctl -n "__fish_omctl_using_subcommand version" -l yes -d 'Answer every question with yes'
complete -c omctl -n "__fish_omctl_using_subcommand version" -s q -l quiet -d 'Print results, warnings and errors only'
complete -c omctl -n "__fish_omctl_using_subcommand version" -s h -l help -d 'Print help'

using System;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The measuring program: one command, one file in Commands/. Without a command it runs the plant.</summary>
internal static class Program
{
    /// <summary>The command ran and what it checks held.</summary>
    public const int Success = 0;

    /// <summary>The command ran, and what it checks did not hold or could not be measured.</summary>
    public const int Failure = 1;

    /// <summary>The command line or an input file was not usable; nothing was written.</summary>
    public const int BadUsage = 2;

    private static ICommand[] Commands =>
    [
        new PlantCommand(),
        new ReturnCommand(),
        new KestrelCommand(),
        new ReplayCommand(),
        new FaultCommand(),
        new PeersCommand(),
        new ScaleCommand(),
        new HeapCommand(),
        new BenchCommand(),
        new RingCommand(),
        new ShrinkCommand(),
        new GuestsCommand(),
        new MapCommand(),
        new TraceCommand(),
        new StressCommand(),
        new ConfineCommand(),
        new FuzzCommand(),
        new WatchCommand(),
    ];

    /// <summary>What a command starts as its own child process, and what writes files of this repository; not listed.</summary>
    private static ICommand[] ChildCommands =>
    [
        new PlantChildCommand(),
        new ReturnChildCommand(),
        new KestrelServerCommand(),
        new KestrelLoadCommand(),
        new ReplayChildCommand(),
        new DemandFilesCommand(),
        new PictureChildCommand(),
        new PeersChildCommand(),
        new HeapWasteChildCommand(),
        new TraceChildCommand(),
        new RingChildCommand(),
        new ShrinkChildCommand(),
        new StressHostCommand(),
        new ConfinedChildCommand(),
    ];

    private static int Main(string[] args) => Run(args, Console.Out, Console.Error);

    /// <summary>Runs one command line. Bad input ends with exactly one line on <paramref name="error"/>.</summary>
    public static int Run(string[] args, TextWriter output, TextWriter error)
    {
        try
        {
            return Dispatch(args, output);
        }
        catch (UsageException e)
        {
            error.WriteLine(e.Message.ReplaceLineEndings(" "));
            return BadUsage;
        }
        catch (Exception e) when (e is MeasurementException or PlatformNotSupportedException)
        {
            error.WriteLine(e.Message.ReplaceLineEndings(" "));
            return Failure;
        }
    }

    private static int Dispatch(string[] args, TextWriter output)
    {
        bool named = args.Length > 0 && !args[0].StartsWith('-');
        string name = named ? args[0] : "plant";
        string[] rest = named ? args[1..] : args;
        if (name == "help" || rest is ["--help"])
        {
            Help(output);
            return Success;
        }

        ICommand command = Array.Find([.. Commands, .. ChildCommands], c => c.Name == name)
            ?? throw new UsageException($"unknown command '{name}'; allowed: {string.Join(", ", Commands.Select(c => c.Name))}, help");
        return command.Run(Arguments.Parse(rest, command.Operand));
    }

    private static void Help(TextWriter output)
    {
        output.WriteLine("dotnet run -c Release --project perf -- [command] [--option value]...   (no command: plant)");
        output.WriteLine();
        foreach (ICommand command in Commands)
        {
            output.WriteLine($"  {command.Name,-8} {command.Summary}");
        }

        output.WriteLine();
        output.WriteLine("Every command takes --json FILE: the machine and the result as flat rows.");
    }
}

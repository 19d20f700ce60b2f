using System.IO;

namespace LowLevel.Perf;

/// <summary>Writes the invented demand curves (<see cref="SyntheticDemand"/>) as the files that are replayed.</summary>
internal sealed class DemandFilesCommand : ICommand
{
    public string Name => "demand-files";

    public string Summary => "writes the invented demand curves; --folder perf/Demand";

    public int Run(Arguments arguments)
    {
        string folder = arguments.Text("folder", Path.Combine("perf", "Demand"))!;
        arguments.End();
        if (!Directory.Exists(folder))
        {
            throw new UsageException($"option --folder: there is no folder '{folder}'; allowed: a folder that exists");
        }

        foreach (string name in SyntheticDemand.Names)
        {
            OutputFiles.Write(Path.Combine(folder, name + ".csv"), SyntheticDemand.Text(name));
        }

        return Program.Success;
    }
}

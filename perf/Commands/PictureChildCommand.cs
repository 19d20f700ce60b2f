namespace LowLevel.Perf;

/// <summary>Draws the plant's picture of invented curves, so that it can be seen (and tested) on a machine without fonts and
/// without a minute of measuring.</summary>
internal sealed class PictureChildCommand : ICommand
{
    public string Name => "picture-child";

    public string Summary => "the plant's picture of invented curves; --output FILE";

    public int Run(Arguments arguments)
    {
        string path = arguments.OutputFile("output") ?? throw new UsageException("option --output is missing; allowed: a file in a folder that exists");
        arguments.End();
        PlantPicture.Save(path, SampleSeries.Create(withCharge: true), "mixed");
        return Program.Success;
    }
}

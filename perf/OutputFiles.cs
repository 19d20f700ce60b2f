using System.IO;
using System.Text;

namespace LowLevel.Perf;

/// <summary>Files appear whole or not at all: written beside their place, then moved.</summary>
internal static class OutputFiles
{
    public static void Write(string path, byte[] contents)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        string temporary = path + ".partial";
        try
        {
            File.WriteAllBytes(temporary, contents);
            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    public static void Write(string path, string contents) => Write(path, new UTF8Encoding(false).GetBytes(contents));
}
